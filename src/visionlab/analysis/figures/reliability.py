"""Reliability diagrams: accuracy against confidence."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from visionlab.analysis.ensembles import EnsembleRecord, Reliability
from visionlab.analysis.figures.ensemble_panels import (
    BEST,
    ENSEMBLE,
    STYLES,
    Panel,
    best_and_others,
)
from visionlab.analysis.figures.lines import check_legible
from visionlab.analysis.figures.spread import draw_spread
from visionlab.analysis.figures.style import DIAGONAL, LineStyle, legend_below
from visionlab.analysis.predictions import Array

NAME = "reliability"
EDGES: Array = np.linspace(0.0, 1.0, 11)  # of the histogram
_LEAST = 1e-9  # confidence, so that all samples lie above the first edge
_MEMBERS = "other members"
_WITH_INTERVALS = (ENSEMBLE, BEST)  # the others differ little in width
_THIN: LineStyle = {"color": "0.7", "linewidth": 0.7, "zorder": 1.5}
_WIDTH, _HEIGHT, _RATIOS, _COLUMNS = 4.2, 4.2, (3, 1), 3  # inches


def draw_reliability(ensembles: Sequence[Panel]) -> Mapping[str, Figure]:
    """Draw accuracy against confidence above a histogram of confidence.

    Of detectors it is the precision of boxes; of landmarks, the error against the spread of the
    members. Bands are 95 % intervals of the ensemble and of the best member; other members are
    thin.
    """
    panels = [each for each in ensembles if each.ensemble.reliability]
    if not panels:
        return draw_spread(NAME, ensembles)
    check_legible(NAME, panels=len(panels))
    figure, axes = _panel_pairs(len(panels))
    handles: dict[str, Line2D] = {}
    for (axis, below), (title, task, ensemble) in zip(axes, panels, strict=True):
        handles |= _draw(axis, below, ensemble)
        axis.set_title(textwrap.fill(title, 42))
        axis.set_ylabel("precision (IoU 0.50)" if task == "detection" else "accuracy")
        below.set_ylabel("detections" if task == "detection" else "samples")
    legend_below(figure, handles)
    return {NAME: figure}


def confidence_histogram(bins: Reliability) -> Array:
    """Return the number of samples between `EDGES`, (10,), from bins of any widths.

    The borders of the bins are taken to be halfway between their mean confidences, and their
    samples to be spread evenly.
    """
    is_known = np.isfinite(bins.confidence) & np.isfinite(bins.counts)
    if not is_known.any():
        return np.zeros(len(EDGES) - 1)
    confidence, counts = bins.confidence[is_known], bins.counts[is_known]
    order = np.argsort(confidence)
    mirrored = np.pad(confidence[order], 1, mode="reflect", reflect_type="odd")
    borders = np.clip((mirrored[1:] + mirrored[:-1]) / 2, _LEAST, 1.0)
    below = np.interp(EDGES, borders, [0.0, *np.cumsum(counts[order])])
    numbers: Array = np.diff(below)
    return numbers


def _panel_pairs(count: int) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Return a figure with pairs of axes, one above the other."""
    num_columns = min(count, _COLUMNS)
    num_rows = -(-count // num_columns)
    figure = Figure(figsize=(_WIDTH * num_columns, _HEIGHT * num_rows), layout="constrained")
    ratios = {"height_ratios": _RATIOS * num_rows}
    axes = figure.subplots(
        2 * num_rows, num_columns, squeeze=False, sharex=True, gridspec_kw=ratios
    )
    pairs = list(zip(axes[::2].flat, axes[1::2].flat, strict=True))
    for unused in pairs[count:]:
        for axis in unused:
            axis.remove()
    return figure, pairs[:count]


def _draw(axis: Axes, below: Axes, ensemble: EnsembleRecord) -> dict[str, Line2D]:
    """Draw an ensemble, the best member above others that equal it; return lines by label."""
    labels = best_and_others(ensemble)
    members = [name for name in ensemble.reliability if name not in labels]
    named = [name for name in labels if name in ensemble.reliability]
    handles: dict[str, Line2D] = {}
    for name in [*members, *reversed(named)]:
        bins, label = ensemble.reliability[name], labels.get(name, _MEMBERS)
        style = STYLES.get(label, _THIN)
        (handles[label],) = axis.plot(bins.confidence, bins.accuracy, **style)
        outline = {"zorder": 2, **style}
        outline.pop("marker", None)
        below.stairs(confidence_histogram(bins), EDGES, **outline)
        if label in _WITH_INTERVALS:
            band = {"color": style["color"], "alpha": 0.18, "linewidth": 0}
            axis.fill_between(bins.confidence, bins.low, bins.high, **band)
    (handles["calibrated"],) = axis.plot([0, 1], [0, 1], **DIAGONAL)
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    below.set_ylim(bottom=0)
    below.set_xlabel("confidence")
    below.tick_params(labelbottom=True)  # also where there is no panel below
    return dict(reversed(handles.items()))
