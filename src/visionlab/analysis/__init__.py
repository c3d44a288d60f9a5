"""Tables, figures and reports from the plain files of runs. Imports neither torch nor Hydra."""

from visionlab.analysis.loading import load_epochs, load_runs
from visionlab.analysis.options import PlannedOptions, TableOptions

__all__ = ["PlannedOptions", "TableOptions", "load_epochs", "load_runs"]
