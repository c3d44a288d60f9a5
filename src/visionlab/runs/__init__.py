"""What train.py, eval.py and plots.py do."""
