"""Hydra plugins of visionlab; Hydra imports them at every start, so they import nothing heavy."""
