"""Distributed training of one run under torchrun."""
