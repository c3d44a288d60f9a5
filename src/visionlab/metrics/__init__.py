"""Metrics: what is counted over a split."""
