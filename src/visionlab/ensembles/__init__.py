"""Ensembles: one prediction of several."""
