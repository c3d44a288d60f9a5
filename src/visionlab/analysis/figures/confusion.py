"""Confusion matrices."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from visionlab.analysis.figures.lines import check_legible, draw_each
from visionlab.analysis.figures.style import panel_grid
from visionlab.analysis.groups import SeedGroup, best_average, setting_groups
from visionlab.analysis.models import ModelRecord
from visionlab.analysis.options import FigureOptions
from visionlab.analysis.predictions import Array, load_last_predictions
from visionlab.files.figures import shorten

TASK = "classification"
MAX_NUMBERED = 10  # classes with numbers in their cells
_MAX_LETTERS = 30  # of the name of a class
_MAX_NAMED = 30
_WIDTH, _HEIGHT, _NARROW_WIDTH = 4.0, 3.4, 3.4  # inches
_DARK = 55.0  # per cent from which on numbers are white


class _Matrix(NamedTuple):
    """A panel: counts by true class (rows) and predicted class (columns), all seeds together."""

    title: str
    counts: Array
    names: Sequence[str]
    num_seeds: int


def draw_confusion(models: Sequence[ModelRecord], options: FigureOptions) -> Mapping[str, Figure]:
    """Draw the confusion matrices of the validation samples after the last epoch, in per cent.

    One figure for raw models and one for averages, where the best average after the last epoch is
    shown; a panel per setting. Samples of several seeds are counted together, which is the mean
    over seeds, as all seeds have the same validation samples.
    """
    by_name: dict[str, list[_Matrix]] = {}
    for group in setting_groups(models, task=TASK):
        shown = {"confusion": group.raw, "confusion_average": best_average(group)}
        for name, member in shown.items():
            if member and (matrix := _matrix(member, group.title(member))):
                by_name.setdefault(name, []).append(matrix)
    return draw_each(partial(_draw_panels, name, matrices) for name, matrices in by_name.items())


def confusion(labels: Array, predicted: Array, *, num_classes: int) -> Array:
    """Return the number of samples by true (rows) and predicted class (columns), (C, C) int64."""
    pairs = labels.astype(np.int64) * num_classes + predicted
    counts: Array = np.bincount(pairs, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def row_shares(counts: Array) -> Array:
    """Return counts in per cent of their row, NaN in a row without samples."""
    totals = counts.sum(axis=1, keepdims=True)
    shares: Array = np.where(totals > 0, 100 * counts / np.maximum(totals, 1), np.nan)
    return shares


def _matrix(member: SeedGroup, title: str) -> _Matrix | None:
    names = member.models[0].run.labels
    found = [load_last_predictions(m.run, m.name, ("label", "predicted")) for m in member.models]
    counts = [
        confusion(each["label"], each["predicted"], num_classes=len(names))
        for each in found
        if each is not None and names
    ]
    if not counts:
        return None
    return _Matrix(title, np.sum(counts, axis=0), names, len(counts))


def _draw_panels(name: str, matrices: Sequence[_Matrix]) -> dict[str, Figure]:
    check_legible(name, panels=len(matrices))
    is_numbered = max(len(matrix.names) for matrix in matrices) <= MAX_NUMBERED
    width = _NARROW_WIDTH if is_numbered else _WIDTH
    figure = panel_grid(len(matrices), width=width, height=_HEIGHT)
    for axis, matrix in zip(list(figure.axes), matrices, strict=True):
        image = _draw(axis, matrix)
        if is_numbered:
            _write_numbers(axis, matrix)
        else:
            bar = figure.colorbar(image, ax=axis, shrink=0.8)
            bar.set_label("share of the true class (%)")
    return {name: figure}


def _draw(axis: Axes, matrix: _Matrix) -> AxesImage:
    image = axis.imshow(row_shares(matrix.counts), cmap="Blues", vmin=0, vmax=100)
    axis.grid(visible=False)
    seeds = f" ({matrix.num_seeds} seeds)" if matrix.num_seeds > 1 else ""
    axis.set_title(f"{matrix.title}{seeds}", fontsize=8)
    num_classes = len(matrix.names)
    if num_classes > _MAX_NAMED:
        axis.set(xlabel="predicted class (index)", ylabel="true class (index)")
        return image
    axis.set(xlabel="predicted class (% of the row)", ylabel="true class (samples)")
    places, totals = np.arange(num_classes), matrix.counts.sum(axis=1) // matrix.num_seeds
    names = [shorten(name, _MAX_LETTERS) for name in matrix.names]
    rows = [f"{name} ({total})" for name, total in zip(names, totals, strict=True)]
    size = 7 if num_classes <= MAX_NUMBERED else 5
    axis.set_xticks(places, names, rotation=90, fontsize=size)
    axis.set_yticks(places, rows, fontsize=size)
    return image


def _write_numbers(axis: Axes, matrix: _Matrix) -> None:
    shares = row_shares(matrix.counts)
    for row, column in zip(*np.nonzero(matrix.counts), strict=True):
        share = float(shares[row, column])
        colour = "white" if share >= _DARK else "black"
        axis.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=6.5)
