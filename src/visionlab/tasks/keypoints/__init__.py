"""Keypoint regression: points in an image."""
