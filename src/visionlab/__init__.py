"""visionlab: controlled experiments in training vision models."""
