"""Multiruns: what they ask for, what of it is there, what can share a training, and how it ends."""
