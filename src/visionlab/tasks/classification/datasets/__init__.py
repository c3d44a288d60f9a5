"""Readers of classification data."""
