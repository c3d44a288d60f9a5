"""Tables and figures of runs: `python plots.py runs=PATH`, see `python plots.py --help`."""

from visionlab.__main__ import run

if __name__ == "__main__":
    run("plots")
