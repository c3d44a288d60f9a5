"""What figures are asked to show, for tests."""

from pathlib import Path
from typing import Any

from visionlab.analysis.asked import Asked
from visionlab.analysis.measures import models_of
from visionlab.analysis.records import read_runs


def asked(*paths: Path, **changes: Any) -> Asked:
    """Return a request for the runs in some folders, with the defaults of `plots.py`."""
    given: dict[str, Any] = {
        "models": models_of(read_runs(list(paths)).runs),
        "x": "epoch",
        "y": None,
        "value": None,
        "weights": "last",
        "hue": None,
        "epochs": None,
        "sort": "stability",
        "num_samples": 10,
        "window": 1,
        "broken_axis": None,
    }
    return Asked(**{**given, **changes})


def legend_texts(figure: Any) -> list[str]:
    """Return what the legend of a figure says."""
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]
