"""Ensembles: one prediction of several.

- `ensemble`, `views`: members, or views of an image, to one prediction; `prediction` makes the
  predictions, `saved_predictions` keeps them, `soup` averages weights instead.
- `results/`: what is reported of an ensemble.
- `selection/`: choice of members and weights.
- `measures/`: calibration and diversity.
"""

from visionlab.ensembles.ensemble import Ensemble

__all__ = ["Ensemble"]
