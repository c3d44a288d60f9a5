"""Losses of detectors."""
