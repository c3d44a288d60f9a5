"""Quality of ensembles against their number of members."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from visionlab.analysis.ensembles import EnsembleRecord, SizeCurve
from visionlab.analysis.figures.ensemble_panels import (
    ENSEMBLE,
    LAST,
    SPREAD,
    STYLES,
    best_and_others,
    ensemble_panels,
)
from visionlab.analysis.figures.lines import check_legible, label_axes
from visionlab.analysis.figures.style import LineStyle, legend_below, panel_grid
from visionlab.analysis.labels import metric_label
from visionlab.analysis.models import ModelRecord
from visionlab.analysis.options import FigureOptions
from visionlab.analysis.predictions import Array

NAME = "ensemble_size"
_MEAN, _BAND = "any subset: mean", "any subset: 5-95 %"
_START = 0.1  # of the sizes, whose band may reach beyond the panel
_MARGIN = 0.05  # of the height
_HOLLOW: LineStyle = {"markersize": 7, "markerfacecolor": "none"}


def draw_ensemble_size(
    models: Sequence[ModelRecord], options: FigureOptions
) -> Mapping[str, Figure]:
    """Draw the metric of ensembles of equal weights against their number of members.

    A line is the mean over subsets of each size, with a band from 5 to 95 % of them, which may
    reach beyond the panel for the smallest sizes. Others are of the last members, and of members
    spread over all as widely as can be. Horizontal lines are the best member, the soup and the
    ensembles with chosen weights. A panel per run and split.
    """
    panels = [
        (title, ensemble, ensemble.by_size)
        for title, _, ensemble in ensemble_panels(NAME, models)
        if ensemble.by_size is not None
    ]
    if not panels:
        return {}
    check_legible(NAME, panels=len(panels))
    figure = panel_grid(len(panels), width=4.2)
    handles: dict[str, Line2D | Patch] = {}
    for axis, (title, ensemble, curve) in zip(figure.axes, panels, strict=True):
        handles |= _draw_curve(axis, curve) | _draw_levels(axis, ensemble, curve.metric)
        _set_limits(axis, curve)
        axis.set_title(textwrap.fill(title, 42))
        y_label = metric_label(f"{ensemble.split}/{curve.metric}")
        label_axes(axis, x="number of members (equal weights)", y=y_label)
    legend_below(figure, handles)
    return {NAME: figure}


def _draw_curve(axis: Axes, curve: SizeCurve) -> dict[str, Line2D | Patch]:
    """Draw the curves over sizes; return them by label."""
    sizes, mean, low, high = curve.subsets.T
    style = STYLES[ENSEMBLE]
    axis.fill_between(sizes, low, high, color=style["color"], alpha=0.18, linewidth=0)
    (of_mean,) = axis.plot(sizes, mean, **style)
    (of_last,) = axis.plot(*curve.last.T, **STYLES[LAST])
    (of_spread,) = axis.plot(*_widest(curve.spread).T, **{**STYLES[SPREAD], **_HOLLOW})
    band = Patch(color=style["color"], alpha=0.18, linewidth=0)
    return {_MEAN: of_mean, _BAND: band, LAST: of_last, SPREAD: of_spread}


def _draw_levels(axis: Axes, ensemble: EnsembleRecord, metric: str) -> dict[str, Line2D | Patch]:
    """Draw a horizontal line for each model that is compared; return them by label."""
    levels = {
        label: ensemble.metrics.get(name, {}).get(metric, np.nan)
        for name, label in best_and_others(ensemble).items()
        if label != ENSEMBLE
    }
    lines = {
        label: axis.axhline(level, **{**STYLES[label], "marker": ""})
        for label, level in reversed(levels.items())  # the best member above others that equal it
        if np.isfinite(level)
    }
    return dict(reversed(lines.items()))


def _widest(spread: Array) -> Array:
    """Return one row per size: the first, of the members that are furthest apart."""
    _, rows = np.unique(spread[:, 0], return_index=True)
    widest: Array = spread[rows]
    return widest


def _set_limits(axis: Axes, curve: SizeCurve) -> None:
    """Fit all lines and the band, except that of the first sizes: single members differ widely."""
    first = int(len(curve.subsets) * _START)
    shown = [curve.subsets[first:, 2:].ravel()]
    shown += [np.asarray(line.get_ydata(), dtype=float) for line in axis.lines]
    values = np.concatenate(shown)
    values = values[np.isfinite(values)]
    if len(values):
        margin = _MARGIN * float(np.ptp(values)) or _MARGIN
        axis.set_ylim(values.min() - margin, values.max() + margin)
    axis.set_xlim(0.5, float(np.max(curve.subsets[:, 0], initial=1.0)) + 0.5)
