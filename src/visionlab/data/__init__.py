"""Data sets: what they read, how they are split, and how batches of them are made."""
