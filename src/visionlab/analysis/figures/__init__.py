"""Figures of runs: functions from models and options to Matplotlib figures by name."""
