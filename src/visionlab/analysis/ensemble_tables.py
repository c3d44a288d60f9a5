"""Tables of an ensemble: overlap of members, and a metric of each class or point."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from visionlab.analysis.predictions import Array
from visionlab.files.documents import parse_csv, read_text

METRICS: Mapping[str, str] = {  # of classes or points, by the name of the file
    "IOU_0-5_class_wise_APs.csv": "AP (IoU 0.50)",
    "class_wise_top1.csv": "top-1 accuracy",
    "point_wise_errors_px.csv": "mean error (px)",
}
_OF_MEMBERS, _COUNT = ("min", "0.25", "mean", "0.75", "max"), "nr_occur"


class Matrix(NamedTuple):
    """Comparison of pairs of models, (K, K).

    Of detectors, rows are predictions and columns the ground truth; others are symmetric.
    """

    names: Sequence[str]
    values: Array


class ClassTable(NamedTuple):
    """A metric of each class or point: (C,) over members, and of the ensemble."""

    metric: str
    classes: Sequence[str]
    counts: Array
    members: Mapping[str, Array]  # min, 0.25, mean, 0.75, max
    ensemble: Array


def read_overlap(path: Path) -> Matrix:
    """Read a square table with the same names above and beside; an empty cell is NaN.

    Raises:
        ValueError: it has other content.
        OSError: it cannot be read.
    """
    header, *rows = _read_table(path)
    names, beside = header[1:], [row[0] for row in rows]
    if names != beside:
        raise ValueError(
            f"{path} must have rows named as its columns {names!s:.60}, got {beside!s:.60}"
        )
    return Matrix(names, np.array([_numbers(row[1:], path) for row in rows]))


def read_class_table(path: Path) -> ClassTable:
    """Read a table with a row per class or point, whose last column is of the ensemble.

    An empty cell is NaN.

    Raises:
        ValueError: it has other content.
        OSError: it cannot be read.
    """
    header, *rows = _read_table(path)
    if not {*_OF_MEMBERS, _COUNT} <= set(header[1:-1]):
        rule = ", ".join([*_OF_MEMBERS, _COUNT])
        raise ValueError(
            f"{path} must have columns {rule} and one of the ensemble, got {header!s:.200}"
        )
    values = np.array([_numbers(row[1:], path) for row in rows]).reshape(len(rows), -1)
    columns = dict(zip(header[1:], values.T, strict=True))
    return ClassTable(
        metric=METRICS[path.name],
        classes=[row[0] for row in rows],
        counts=columns[_COUNT],
        members={name: columns[name] for name in _OF_MEMBERS},
        ensemble=columns[header[-1]],
    )


def _read_table(path: Path) -> list[list[str]]:
    """Return a header and rows of the same length."""
    header, *rows = parse_csv(read_text(path), origin=path) or [[]]
    lengths = [len(row) for row in rows]
    if not header or not rows or set(lengths) != {len(header)}:
        rule = f"rows of {len(header)} cells below a header"
        raise ValueError(f"{path} must have {rule}, got {lengths!s:.60}")
    return [header, *rows]


def _numbers(cells: Sequence[str], path: Path) -> list[float]:
    try:
        return [float(cell or "nan") for cell in cells]
    except ValueError as error:
        raise ValueError(f"{path} must have numbers as cells, got {cells!s:.60}") from error
