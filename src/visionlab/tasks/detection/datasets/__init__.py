"""Readers of detection data."""
