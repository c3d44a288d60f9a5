"""Tables and figures from the plain files of runs. Imports no torch."""

from visionlab.analysis.listing import load_epochs, load_runs

__all__ = ["load_epochs", "load_runs"]
