"""Content of `ensemble_<split>.json`: what members and ensembles are worth, and their measures."""
