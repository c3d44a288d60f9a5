"""Ensembles: one prediction of several."""

from visionlab.ensembles.ensemble import Ensemble

__all__ = ["Ensemble"]
