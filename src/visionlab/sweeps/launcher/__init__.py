"""Launchers: jobs in separate processes."""
