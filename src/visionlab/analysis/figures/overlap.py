"""Overlap of the members of an ensemble: a matrix of pairs of models."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.analysis.ensemble_tables import Matrix
from visionlab.analysis.ensembles import load_overlap
from visionlab.analysis.figures.ensemble_panels import Panel
from visionlab.analysis.figures.lines import check_legible
from visionlab.analysis.figures.style import panel_grid
from visionlab.analysis.predictions import Array
from visionlab.files.figures import shorten

NAME = "overlap"
MAX_NUMBERED = 20  # models with numbers in their cells
_MAX_NAMED = 40
_MAX_LETTERS = 30
_NO_PAIR = "0.92"  # grey
_DARK = 0.55  # of white, below which numbers are white
_CELL, _MARGIN, _LEAST, _MOST = 0.26, 1.6, 3.2, 8.0  # inches


class _Kind(NamedTuple):
    """The meaning of the numbers of a matrix, and how they are shown."""

    label: str
    scale: float
    format: str
    rows: str
    columns: str


_DISTANCE = _Kind("mean distance (px)", 1.0, ".3g", "member", "member")
_OF_TABLE = {  # by task
    "detection": _Kind("AP (IoU 0.50)", 1.0, ".2f", "prediction", "ground truth"),
    "classification": _Kind("same prediction (% of samples)", 100.0, ".0f", "member", "member"),
    "keypoints": _DISTANCE,
}
_OF_PAIRS = {
    "disagreement": _Kind("exactly one is right (% of samples)", 100.0, ".0f", "member", "member"),
    "distance_px": _DISTANCE,
}


def draw_overlap(ensembles: Sequence[Panel]) -> Mapping[str, Figure]:
    """Draw the overlap of each pair of members of an ensemble as a heat map.

    Of detectors, it is the average precision of one (rows) if the detections of another (columns)
    are the ground truth; of classifiers, the share of samples with the same prediction; of
    landmarks, the mean distance. Without such a table, it is the share of samples of which exactly
    one of two classifiers is right, or again the distance. Colours span the values of different
    members. A panel per run and split.
    """
    panels = [(panel.title, *found) for panel in ensembles if (found := _matrix(panel)) is not None]
    if not panels:
        return {}
    check_legible(NAME, panels=len(panels))
    size = max(len(matrix.names) for _, matrix, _ in panels)
    side = float(np.clip(_CELL * size + _MARGIN, _LEAST, _MOST))
    figure = panel_grid(len(panels), width=side + 0.6, height=side)
    for axis, (title, matrix, kind) in zip(list(figure.axes), panels, strict=True):
        pairs = [_of_pairs(each) for _, each, other in panels if other == kind]
        _draw(figure, axis, matrix, kind, span=_span(pairs, kind.scale))
        axis.set_title(textwrap.fill(title, 42))
    return {NAME: figure}


def _matrix(panel: Panel) -> tuple[Matrix, _Kind] | None:
    """Return the table of overlaps, or else the first known matrix of pairs."""
    ensemble = panel.ensemble
    if panel.task in _OF_TABLE and (table := load_overlap(ensemble)) is not None:
        return table, _OF_TABLE[panel.task]
    for name, kind in _OF_PAIRS.items():
        if name in ensemble.pairs:
            return Matrix(ensemble.members, ensemble.pairs[name]), kind
    return None


def _of_pairs(matrix: Matrix) -> Array:
    """Return the values of different members, (K, K), NaN on the diagonal."""
    return np.where(np.eye(len(matrix.names), dtype=bool), np.nan, matrix.values)


def _span(matrices: Sequence[Array], scale: float) -> tuple[float, float] | None:
    """Return the least and the largest known value of some matrices, None if all are unknown."""
    values = scale * np.concatenate([each[np.isfinite(each)] for each in matrices])
    return (float(values.min()), float(values.max())) if len(values) else None


def _draw(
    figure: Figure, axis: Axes, matrix: Matrix, kind: _Kind, *, span: tuple[float, float] | None
) -> None:
    names, values = matrix.names, kind.scale * matrix.values
    is_pair = ~np.eye(len(names), dtype=bool)
    colours = colormaps["Blues"].with_extremes(bad=_NO_PAIR)
    image = axis.imshow(kind.scale * _of_pairs(matrix), cmap=colours)
    if span is not None:
        image.set_clim(*span)
    figure.colorbar(image, ax=axis, shrink=0.8).set_label(kind.label)
    axis.grid(visible=False)
    axis.set(xlabel=kind.columns, ylabel=kind.rows)
    if len(names) <= _MAX_NAMED:
        places, texts = range(len(names)), [shorten(name, _MAX_LETTERS) for name in names]
        axis.set_xticks(places, texts, rotation=90, fontsize=6.5)
        axis.set_yticks(places, texts, fontsize=6.5)
    if len(names) <= MAX_NUMBERED:
        is_dark = is_pair & (image.to_rgba(values)[:, :, :3].mean(axis=2) < _DARK)
        for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
            text = format(values[row, column], kind.format)
            colour = "white" if is_dark[row, column] else "black"
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=6)
