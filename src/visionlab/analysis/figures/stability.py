"""Stability of predictions from epoch to epoch."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from visionlab.analysis.figures.lines import (
    Line,
    check_legible,
    draw_line,
    line_over_seeds,
    seeds_note,
)
from visionlab.analysis.figures.style import legend_below, line_styles, panel_grid
from visionlab.analysis.groups import SeedGroup, setting_groups
from visionlab.analysis.models import ModelRecord
from visionlab.analysis.options import FigureOptions
from visionlab.analysis.predictions import Array, load_correctness
from visionlab.analysis.stability import moving_average, stability_of_epochs

TASK = "classification"
_START = 0.1  # of the epochs, whose values may lie below the panel
_MARGIN = 0.05  # of the height


def draw_stability(models: Sequence[ModelRecord], options: FigureOptions) -> Mapping[str, Figure]:
    """Draw stability (solid) and accuracy (dashed) over epochs, mean and std over seeds.

    A panel per setting. The lowest values of the first tenth of the epochs may lie below the panel
    so that later ones are legible.
    """
    panels = {
        group.label: lines
        for group in setting_groups(models, task=TASK)
        if (lines := {m.label: pair for m in group.members if (pair := _lines(m, options))})
    }
    styles = line_styles(label for lines in panels.values() for label in lines)
    if not panels:
        return {}
    check_legible("stability", panels=len(panels), lines=len(styles))
    figure = panel_grid(len(panels))
    for axis, (title, lines) in zip(figure.axes, panels.items(), strict=True):
        for label, (stability, accuracy) in lines.items():
            style = {**styles[label], "linestyle": "-"}
            draw_line(axis, stability, style, label)
            draw_line(axis, accuracy, {**style, "linestyle": "--", "mfc": "white"}, label)
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    pairs = [pair for lines in panels.values() for pair in lines.values()]
    note = seeds_note([line for pair in pairs for line in pair])
    figure.axes[0].set_ylabel("share of validation samples" + (f"\n({note})" if note else ""))
    _share_limits(figure)
    handles = {
        label: Line2D([], [], **{**style, "linestyle": "-"}) for label, style in styles.items()
    }
    handles["stability"] = Line2D([], [], color="0.3", linestyle="-", marker="o")
    handles["accuracy"] = Line2D([], [], color="0.3", linestyle="--", marker="o", mfc="white")
    legend_below(figure, handles)
    return {"stability": figure}


def _lines(member: SeedGroup, options: FigureOptions) -> tuple[Line, Line] | None:
    """Return the lines of stability and accuracy, or None if no seed has two epochs."""
    stability: list[tuple[float, int, float]] = []
    accuracy: list[tuple[float, int, float]] = []
    for model in member.models:
        found = load_correctness(model.run, model.name, options.epochs)
        if found is not None and len(found.epochs) > 1:
            smooth = moving_average(stability_of_epochs(found.correct), options.window)
            stability += _points(found.epochs[1:], model, smooth)
            accuracy += _points(found.epochs, model, found.correct.mean(axis=1))
    first, second = (line_over_seeds(each, largest=1.0) for each in (stability, accuracy))
    return None if first is None or second is None else (first, second)


def _points(epochs: Array, model: ModelRecord, values: Array) -> list[tuple[float, int, float]]:
    pairs = zip(epochs.tolist(), values.tolist(), strict=True)
    return [(epoch, model.run.seed, value) for epoch, value in pairs]


def _share_limits(figure: Figure) -> None:
    """Give all panels the same limits, which may cut off the steep rise at the start."""
    lefts, rights = zip(*(axis.get_xlim() for axis in figure.axes), strict=True)
    values = [np.asarray(line.get_ydata()) for axis in figure.axes for line in axis.lines]
    low = np.concatenate([each[math.ceil(len(each) * _START) :] for each in values]).min()
    margin = _MARGIN * (1 - low)
    for axis in figure.axes:
        axis.set(xlim=(min(lefts), max(rights)), ylim=(low - margin, 1 + margin))
