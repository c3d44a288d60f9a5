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
    Panel,
    best_and_others,
)
from visionlab.analysis.figures.lines import check_legible, label_axes
from visionlab.analysis.figures.style import LineStyle, legend_below, panel_grid
from visionlab.analysis.labels import metric_label
from visionlab.analysis.predictions import Array

NAME = "ensemble_size"
_MEAN, _BAND = "any subset: mean", "any subset: 5-95 %"
_START = 0.1  # of the sizes, whose band may reach beyond the panel
_MARGIN = 0.05  # of the height
_REACH = 3.0  # times the height of the curves; a level further from them is beyond the panel
_HOLLOW: LineStyle = {"markersize": 7, "markerfacecolor": "none"}


def draw_ensemble_size(ensembles: Sequence[Panel]) -> Mapping[str, Figure]:
    """Draw the metric of ensembles of equal weights against their number of members.

    A line is the mean over subsets of each size, with a band from 5 to 95 % of them, which may
    reach beyond the panel for the smallest sizes. Others are of the last members, and of members
    spread over all as widely as can be. Horizontal lines are the best member, the soup and the
    ensembles with chosen weights, unless they are far from the curves, as the soup of separate
    trainings is. Panels of the same metric have the same scale.
    """
    panels = [
        (title, ensemble, ensemble.by_size)
        for title, _, ensemble in ensembles
        if ensemble.by_size is not None
    ]
    if not panels:
        return {}
    check_legible(NAME, panels=len(panels))
    figure = panel_grid(len(panels), width=4.2)
    handles: dict[str, Line2D | Patch] = {}
    for axis, (title, ensemble, curve) in zip(figure.axes, panels, strict=True):
        handles |= _draw_curve(axis, curve) | _draw_levels(axis, ensemble, curve.metric)
        axis.set_title(textwrap.fill(title, 42))
        y_label = metric_label(f"{ensemble.split}/{curve.metric}")
        label_axes(axis, x="number of members (equal weights)", y=y_label)
    for metric in {curve.metric for _, _, curve in panels}:
        same = [
            (axis, curve)
            for axis, (_, _, curve) in zip(figure.axes, panels, strict=True)
            if curve.metric == metric
        ]
        _set_limits(*zip(*same, strict=True))
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


def _set_limits(axes: Sequence[Axes], curves: Sequence[SizeCurve]) -> None:
    """Fit all panels to the curves, and to the levels that are not too far from them.

    The band of the first sizes may reach beyond: single members differ widely.
    """
    shown = [curve.subsets[int(len(curve.subsets) * _START) :, 2:].ravel() for curve in curves]
    lines = [line for axis in axes for line in axis.lines]
    shown += [_heights(line) for line in lines if not _is_level(line)]
    values = np.concatenate(shown)
    if np.isfinite(values).any():
        low, high = np.nanmin(values), np.nanmax(values)
        reach = _REACH * (high - low) or np.inf
        levels = np.array([_heights(line)[0] for line in lines if _is_level(line)])
        near = levels[(levels >= low - reach) & (levels <= high + reach)]
        low, high = np.min(near, initial=low), np.max(near, initial=high)
        margin = _MARGIN * float(high - low) or _MARGIN
        for axis in axes:
            axis.set_ylim(low - margin, high + margin)
    for axis, curve in zip(axes, curves, strict=True):
        axis.set_xlim(0.5, float(np.max(curve.subsets[:, 0], initial=1.0)) + 0.5)


def _is_level(line: Line2D) -> bool:
    return line.get_marker() == ""


def _heights(line: Line2D) -> Array:
    return np.asarray(line.get_ydata(), dtype=float)
