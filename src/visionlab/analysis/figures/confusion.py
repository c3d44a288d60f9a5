"""Confusion matrices: which classes are taken for which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from visionlab.analysis.asked import Asked
from visionlab.analysis.best import best_line
from visionlab.analysis.figures.style import panels, styled
from visionlab.analysis.panels import Line, panels_of
from visionlab.analysis.predictions import last_arrays

Array = np.ndarray[Any, Any]
TASK = "classification"
MAX_NUMBERED = 10  # classes; of more there is no room for numbers
_MAX_NAMED = 30
_WIDTH, _HEIGHT, _NARROW_WIDTH = 4.0, 3.4, 3.4  # inches
_DARK = 55.0  # per cent, from which on numbers are white


@dataclass(frozen=True, kw_only=True)
class _Matrix:
    """One panel.

    Attributes:
        title: of it.
        counts: of samples by true (rows) and predicted class (columns), all seeds together.
        names: of the classes.
        num_seeds: how many seeds there are.
    """

    title: str
    counts: Array
    names: Sequence[str]
    num_seeds: int


def draw_confusion(asked: Asked) -> Mapping[str, Figure]:
    """Draw of each true class which share is taken for which, after the last epoch, on validation.

    One figure for models in training, one for averages; of several averages for that which is best
    at last. A panel for each setting of training. Samples of several seeds are counted together:
    as all seeds validate on the same samples, that is the mean over seeds.
    """
    by_name: dict[str, list[_Matrix]] = {}
    for panel in panels_of(asked.models, task=TASK):
        average = best_line(panel.averages)
        for name, line in (("confusion", panel.in_training), ("confusion_average", average)):
            matrix = None if line is None else _matrix(line, panel.label)
            if matrix is not None:
                by_name.setdefault(name, []).append(matrix)
    return {name: _figure(matrices) for name, matrices in by_name.items()}


def confusion(labels: Array, predicted: Array, *, num_classes: int) -> Array:
    """Return how many samples of each label, in rows, were given each label, (C, C) int64."""
    pairs = labels.astype(np.int64) * num_classes + predicted
    counts: Array = np.bincount(pairs, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def row_shares(counts: Array) -> Array:
    """Return counts in per cent of their row; NaN in a row without samples."""
    totals = counts.sum(axis=1, keepdims=True)
    shares: Array = np.where(totals > 0, 100 * counts / np.maximum(totals, 1), np.nan)
    return shares


def _matrix(line: Line, label: str) -> _Matrix | None:
    names = line.models[0].run.about.get("labels", [])
    found = [last_arrays(model.run, model.name, ("label", "predicted")) for model in line.models]
    kept = [arrays for arrays in found if arrays is not None]
    if not kept or not names:
        return None
    counts = [confusion(each["label"], each["predicted"], num_classes=len(names)) for each in kept]
    title = ", ".join(filter(None, (label, line.label)))
    return _Matrix(title=title, counts=np.sum(counts, axis=0), names=names, num_seeds=len(kept))


def _figure(matrices: Sequence[_Matrix]) -> Figure:
    is_numbered = max(len(matrix.names) for matrix in matrices) <= MAX_NUMBERED
    with styled():
        width = _NARROW_WIDTH if is_numbered else _WIDTH
        figure = panels(len(matrices), width=width, height=_HEIGHT)
        for axis, matrix in zip(list(figure.axes), matrices, strict=True):
            image = _draw(axis, matrix)
            if is_numbered:
                _write_numbers(axis, matrix)
            else:
                bar = figure.colorbar(image, ax=axis, shrink=0.8)
                bar.set_label("share of the true class (%)")
    return figure


def _draw(axis: Axes, matrix: _Matrix) -> AxesImage:
    image = axis.imshow(row_shares(matrix.counts), cmap="Blues", vmin=0, vmax=100)
    axis.grid(visible=False)
    seeds = f" ({matrix.num_seeds} seeds)" if matrix.num_seeds > 1 else ""
    axis.set_title(f"{matrix.title}{seeds}", fontsize=8)
    if len(matrix.names) > _MAX_NAMED:
        axis.set(xlabel="predicted class, by number", ylabel="true class, by number")
        return image
    size = 7 if len(matrix.names) <= MAX_NUMBERED else 5
    axis.set(xlabel="predicted class (% of the row)", ylabel="true class (samples)")
    places, totals = np.arange(len(matrix.names)), matrix.counts.sum(axis=1) // matrix.num_seeds
    rows = [f"{name} ({total})" for name, total in zip(matrix.names, totals, strict=True)]
    axis.set_xticks(places, matrix.names, rotation=90, fontsize=size, parse_math=False)
    axis.set_yticks(places, rows, fontsize=size, parse_math=False)
    return image


def _write_numbers(axis: Axes, matrix: _Matrix) -> None:
    """Write the share into each cell where there is anything."""
    shares = row_shares(matrix.counts)
    for row, column in zip(*np.nonzero(matrix.counts), strict=True):
        share = float(shares[row, column])
        colour = "white" if share >= _DARK else "black"
        axis.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=6.5)
