"""Models for pretraining."""
