"""Code that runs in the processes of a sweep; imports torch."""
