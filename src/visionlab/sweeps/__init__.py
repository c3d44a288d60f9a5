"""Many runs at once: what is tried, how it is shared out, and what became of it."""
