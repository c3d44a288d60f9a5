"""The work of train.py, eval.py and plots.py."""
