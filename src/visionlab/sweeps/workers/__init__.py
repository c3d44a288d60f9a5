"""What runs in the processes that a sweep starts; imports torch."""
