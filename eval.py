"""Evaluate what a run saved: `python eval.py run=outputs/...`, see `python eval.py --help`."""

from visionlab.__main__ import run

if __name__ == "__main__":
    run("eval")
