"""Readers of keypoint data."""
