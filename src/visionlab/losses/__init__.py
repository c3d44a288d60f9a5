"""Losses: (outputs, targets) to named scalars."""
