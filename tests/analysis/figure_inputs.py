"""Inputs of figures, and run folders read independently of the code under test."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from visionlab.analysis.figures.ensemble_panels import Panel, PanelGroup, ensemble_panels
from visionlab.analysis.models import ModelRecord, model_records
from visionlab.analysis.options import FigureOptions
from visionlab.analysis.records import read_runs, read_runs_and_ensembles


def inputs(*paths: Path, **changes: Any) -> tuple[list[ModelRecord], FigureOptions]:
    """Return what figures are drawn from: the models of runs, and options."""
    given: dict[str, Any] = {
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
    models = model_records(read_runs(list(paths)).runs)
    return models, FigureOptions(**{**given, **changes})


def panels(*paths: Path, figure: str = "overlap") -> list[Panel]:
    """Return the panels of the one group of ensembles in or below some folders."""
    (group,) = panel_groups(*paths, figure=figure)
    return group.panels


def panel_groups(*paths: Path, figure: str = "overlap") -> list[PanelGroup]:
    """Return the panels of ensembles in or below some folders, of which there may be no runs."""
    scan = read_runs_and_ensembles(list(paths))
    return ensemble_panels(figure, model_records(scan.runs), scan.ensembles)


def runs(folder: Path) -> list[tuple[dict[str, Any], dict[str, Any], list[dict[str, float]]]]:
    """Return settings, record and rows of each run below a folder."""
    found = []
    for path in sorted(folder.rglob("run.json")):
        config = yaml.safe_load((path.parent / "config.yaml").read_text())
        rows = [
            json.loads(line) for line in (path.parent / "metrics.jsonl").read_text().splitlines()
        ]
        found.append((config, json.loads(path.read_text()), rows))
    return found


def naive(
    folder: Path,
    read: Callable[[Mapping[str, float]], float | None],
    *,
    x: str = "epoch",
    scheduler: str | None = None,
    lr: float | None = None,
) -> tuple[list[float], list[float], list[float]]:
    """Return x, mean and deviation over seeds of what is read from the rows of some runs."""
    by_x: dict[float, dict[int, float]] = {}
    for config, record, rows in runs(folder):
        if scheduler not in (None, record["choices"]["scheduler"]):
            continue
        if lr not in (None, config["optimizer"]["lr"]):
            continue
        for row in rows:
            if (y := read(row)) is not None:
                by_x.setdefault(row[x], {})[config["global_seed"]] = y
    several = [list(by_x[each].values()) for each in sorted(by_x)]
    stds = [statistics.stdev(each) if len(each) > 1 else 0.0 for each in several]
    return sorted(by_x), [statistics.fmean(each) for each in several], stds


def lines(axis: Axes) -> dict[str, Line2D]:
    """Return the lines of a panel by their labels."""
    return {str(line.get_label()): line for line in axis.get_lines()}


def points(line: Line2D) -> tuple[list[float], list[float]]:
    x, y = line.get_data()
    return np.asarray(x, float).tolist(), np.asarray(y, float).tolist()


def band(axis: Axes, number: int) -> tuple[list[float], list[float]]:
    """Return the lower and the upper edge of a band, at each x."""
    (path,) = axis.collections[number].get_paths()
    edges: dict[float, list[float]] = {}
    for x, y in np.asarray(path.vertices):
        edges.setdefault(float(x), []).append(float(y))
    return [min(edges[x]) for x in sorted(edges)], [max(edges[x]) for x in sorted(edges)]


def legend(figure: Any) -> tuple[str, list[str]]:
    """Return the title and the labels of a figure's legend."""
    (found,) = figure.legends
    return found.get_title().get_text(), [text.get_text() for text in found.get_texts()]


def titles(axes: Sequence[Axes]) -> list[str]:
    return [axis.get_title() for axis in axes]


def legend_texts(figure: Any) -> list[str]:
    """Return what the legends of a figure say."""
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]
