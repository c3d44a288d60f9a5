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
from visionlab.analysis.figures.style import legend_below, panel_grid
from visionlab.analysis.labels import metric_label
from visionlab.analysis.models import ModelRecord
from visionlab.analysis.options import FigureOptions

NAME = "ensemble_size"
_MEAN, _BAND = "mean of ensembles", "5 to 95 % of ensembles"


def draw_ensemble_size(
    models: Sequence[ModelRecord], options: FigureOptions
) -> Mapping[str, Figure]:
    """Draw the metric of ensembles of equal weights against their number of members.

    A line is the mean over ensembles of each size, with a band from 5 to 95 % of them. Others are
    of the last members, and of every n-th member. Horizontal lines are the best member, the soup
    and the ensembles with chosen weights. A panel per run and split.
    """
    panels = [
        (title, ensemble, ensemble.by_size)
        for title, ensemble in ensemble_panels(NAME, models)
        if ensemble.by_size is not None
    ]
    if not panels:
        return {}
    check_legible(NAME, panels=len(panels))
    figure = panel_grid(len(panels))
    handles: dict[str, Line2D | Patch] = {}
    for axis, (title, ensemble, curve) in zip(figure.axes, panels, strict=True):
        handles |= _draw_curve(axis, curve) | _draw_levels(axis, ensemble, curve.metric)
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
    # several spacings may have the same number of members
    (of_spread,) = axis.plot(*curve.spread.T, **{**STYLES[SPREAD], "linestyle": "none"})
    axis.set_xlim(0.5, float(np.max(sizes, initial=1.0)) + 0.5)
    band = Patch(color=style["color"], alpha=0.18, linewidth=0)
    return {_MEAN: of_mean, _BAND: band, LAST: of_last, SPREAD: of_spread}


def _draw_levels(axis: Axes, ensemble: EnsembleRecord, metric: str) -> dict[str, Line2D | Patch]:
    """Draw a horizontal line for each model that is compared; return them by label."""
    levels = {
        label: ensemble.metrics.get(name, {}).get(metric, np.nan)
        for name, label in best_and_others(ensemble).items()
        if label != ENSEMBLE
    }
    return {
        label: axis.axhline(level, **{**STYLES[label], "marker": ""})
        for label, level in levels.items()
        if np.isfinite(level)
    }
