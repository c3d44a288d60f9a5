"""One run by several processes, started by torchrun."""
