"""Figures of what runs left."""
