"""Train a model: `python train.py [key=value ...]`, see `python train.py --help`."""

from visionlab.__main__ import run

if __name__ == "__main__":
    run("train")
