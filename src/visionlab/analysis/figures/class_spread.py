"""Range of a metric of single classes over the members of an ensemble."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from visionlab.analysis.ensemble_tables import ClassTable
from visionlab.analysis.ensembles import load_class_table
from visionlab.analysis.figures.ensemble_panels import Panel
from visionlab.analysis.figures.lines import check_legible
from visionlab.analysis.figures.style import (
    BLUE,
    VERMILION,
    LineStyle,
    legend_below,
    panel_grid,
    share_x,
)
from visionlab.files.figures import shorten

NAME = "class_ap"
_MAX_LETTERS = 30
_ROW, _MARGIN, _MIN_ROWS = 0.17, 0.7, 8  # inches; rows for which there is room
_RANGE: LineStyle = {"color": BLUE, "linewidth": 0.8}
_QUARTILES: LineStyle = {"color": BLUE, "linewidth": 4.0, "alpha": 0.4}
_MEAN: LineStyle = {"color": BLUE, "marker": "|", "markersize": 7, "markeredgewidth": 1.5}
_ENSEMBLE: LineStyle = {"color": VERMILION, "marker": "D", "markersize": 3.5}


def draw_class_ap(ensembles: Sequence[Panel]) -> Mapping[str, Figure]:
    """Draw the metric of each class over the members of an ensemble, and of the ensemble.

    A thin line from the worst to the best member, a thick one over the middle half of them, and
    their mean. It is AP of detectors, top-1 accuracy of classifiers, and of landmarks the error of
    each point. The most frequent class is on top, with its count in brackets. Panels have the same
    scale.
    """
    panels = [
        (title, table)
        for title, _, ensemble in ensembles
        if (table := load_class_table(ensemble)) is not None
    ]
    if not panels:
        return {}
    num_rows = max(len(table.classes) for _, table in panels)
    check_legible(NAME, panels=len(panels), bars=num_rows)
    num_rows = max(num_rows, _MIN_ROWS)
    figure = panel_grid(len(panels), width=3.8, height=_ROW * num_rows + _MARGIN)
    for axis, (title, table) in zip(figure.axes, panels, strict=True):
        _draw(axis, table)
        axis.set(ylim=(num_rows - 0.5, -0.5), xlabel=table.metric)
        axis.set_title(textwrap.fill(title, 42))
    share_x(figure.axes)
    handles = {
        "min to max": Line2D([], [], **_RANGE),
        "quartiles": Line2D([], [], **_QUARTILES),
        "mean of members": Line2D([], [], **_MEAN, linestyle="none"),
        "ensemble": Line2D([], [], **_ENSEMBLE, linestyle="none"),
    }
    legend_below(figure, handles)
    return {NAME: figure}


def _draw(axis: Axes, table: ClassTable) -> None:
    order = np.argsort(-table.counts, kind="stable")
    rows = np.arange(len(order))
    low, first, mean, third, high = (each[order] for each in table.members.values())
    axis.hlines(rows, low, high, **_RANGE)
    axis.hlines(rows, first, third, **_QUARTILES)
    axis.plot(mean, rows, linestyle="none", **_MEAN)
    axis.plot(table.ensemble[order], rows, linestyle="none", **_ENSEMBLE)
    names = [
        f"{shorten(table.classes[each], _MAX_LETTERS)} ({table.counts[each]:.0f})" for each in order
    ]
    axis.set_yticks(rows, names, fontsize=7)
    axis.grid(visible=False, axis="y")
