"""The edge to Hydra: command line, checking of settings, errors in one line. Imports no torch."""
