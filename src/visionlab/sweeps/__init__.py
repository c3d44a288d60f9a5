"""Sweeps: multiruns, tuning, and launchers for their jobs."""
