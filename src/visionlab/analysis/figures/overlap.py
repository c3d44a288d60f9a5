"""Overlap of the members of an ensemble: a matrix of pairs of models."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.analysis.ensembles import EnsembleRecord, Matrix, load_overlap
from visionlab.analysis.figures.ensemble_panels import ensemble_panels
from visionlab.analysis.figures.lines import check_legible
from visionlab.analysis.figures.style import panel_grid
from visionlab.analysis.models import ModelRecord
from visionlab.analysis.options import FigureOptions
from visionlab.files.figures import shorten

NAME = "overlap"
MAX_NUMBERED = 20  # models with numbers in their cells
_MAX_NAMED = 40
_MAX_LETTERS = 30
_PAIRS = {  # of members, with unit and format of the number
    "disagreement": ("share of samples of which exactly one is right (%)", 100.0, ".0f"),
    "distance_px": ("mean distance of points (px)", 1.0, ".2g"),
}
_CELL, _MARGIN, _LEAST, _MOST = 0.26, 1.6, 3.2, 8.0  # inches


class _Shown(NamedTuple):
    """A matrix and how it is shown."""

    matrix: Matrix
    label: str
    format: str


def draw_overlap(models: Sequence[ModelRecord], options: FigureOptions) -> Mapping[str, Figure]:
    """Draw the overlap of each pair of members of an ensemble as a heat map.

    Of detectors, it is the average precision of one (rows) if the detections of another (columns)
    are the ground truth. Of classifiers, it is their disagreement, and of landmarks the distance.
    Colours span the values of different members. A panel per run and split.
    """
    panels = [
        (title, shown)
        for title, ensemble in ensemble_panels(NAME, models)
        if (shown := _shown(ensemble)) is not None
    ]
    if not panels:
        return {}
    check_legible(NAME, panels=len(panels))
    size = max(len(shown.matrix.names) for _, shown in panels)
    side = float(np.clip(_CELL * size + _MARGIN, _LEAST, _MOST))
    figure = panel_grid(len(panels), width=side + 0.6, height=side)
    for axis, (title, shown) in zip(list(figure.axes), panels, strict=True):
        _draw(figure, axis, shown)
        axis.set_title(textwrap.fill(title, 42))
    return {NAME: figure}


def _shown(ensemble: EnsembleRecord) -> _Shown | None:
    """Return the table of overlaps, or else the first known matrix of pairs."""
    overlap = load_overlap(ensemble)
    if overlap is not None:
        return _Shown(overlap, "AP (IoU 0.50)", ".2f")
    for name, (label, scale, form) in _PAIRS.items():
        if name in ensemble.pairs:
            return _Shown(Matrix(ensemble.members, scale * ensemble.pairs[name]), label, form)
    return None


def _draw(figure: Figure, axis: Axes, shown: _Shown) -> None:
    names, values = shown.matrix
    is_pair = ~np.eye(len(names), dtype=bool)
    image = axis.imshow(np.where(is_pair, values, np.nan), cmap="Blues")
    figure.colorbar(image, ax=axis, shrink=0.8).set_label(shown.label)
    axis.grid(visible=False)
    if len(names) <= _MAX_NAMED:
        places, texts = range(len(names)), [shorten(name, _MAX_LETTERS) for name in names]
        axis.set_xticks(places, texts, rotation=90, fontsize=6.5)
        axis.set_yticks(places, texts, fontsize=6.5)
    if len(names) <= MAX_NUMBERED:
        colours = image.to_rgba(values)
        for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
            is_dark = is_pair[row, column] and colours[row, column, :3].mean() < 0.55
            text = format(values[row, column], shown.format)
            colour = "white" if is_dark else "black"
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=6)
