"""One folder a task; siblings have the same file names."""
