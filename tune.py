"""Tune settings of a training: `python tune.py [key=space ...]`, see `python tune.py --help`."""

from visionlab.__main__ import run

if __name__ == "__main__":
    run("tune")
