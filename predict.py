"""Predict images by what a run saved: `python predict.py source=photos`, see `--help`."""

from visionlab.__main__ import run

if __name__ == "__main__":
    run("predict")
