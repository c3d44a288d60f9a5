"""Readers of data for pretraining."""
