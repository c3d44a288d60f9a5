"""Optuna studies: trials, pruning, restarts."""
