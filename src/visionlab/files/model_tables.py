"""Tables that compare models class by class (or point by point), as CSV; unknown values are empty.

Imports no torch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionlab.files.atomic import csv_text, write_text

COUNT = "nr_occur"  # the name in the files of the evaluation of DeepScores by `s2anet`
_Floats = NDArray[np.float64]
_Values = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Classes or points that are the R rows of tables.

    Attributes:
        kind: head of their column, as `class`.
        names: of the rows.
        counts: (R,) int64, how often each occurs.
        means: by name, rows whose mean is a further row in some tables.
    """

    kind: str
    names: Sequence[str]
    counts: NDArray[np.int64]
    means: Mapping[str, Sequence[int]]


def write_values(path: Path, columns: Mapping[str, _Values], rows: Rows) -> None:
    """Write columns of values (R,) by name; rows of means come last and ignore NaN."""
    extended = {
        name: [*values.tolist(), *(_known_mean(values[list(row)]) for row in rows.means.values())]
        for name, values in columns.items()
    }
    _write(path, extended, kind=rows.kind, names=[*rows.names, *rows.means])


def write_spread(
    path: Path,
    members: Sequence[_Floats],
    ensemble: Mapping[str, _Floats],
    rows: Rows,
    *,
    decimals: int | None,
) -> None:
    """Write how the values of models spread; the rows that occur most often come first.

    Columns are mean, quartiles, minimum and maximum over models, the count, and the ensemble. A
    quartile that falls between two models is half way between them.

    Args:
        path: the file; its folder is created if missing.
        members: (R,) values of each model.
        ensemble: (R,) values, by the name of the column.
        rows: the rows.
        decimals: of the values; None for full precision.
    """
    values = np.stack(members)
    low, high = np.quantile(values, [0.25, 0.75], axis=0, method="midpoint")
    columns: dict[str, _Values] = {
        "mean": values.mean(axis=0),
        "0.25": low,
        "0.75": high,
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        COUNT: rows.counts,
        **ensemble,
    }
    order = np.argsort(-rows.counts, kind="stable").tolist()
    chosen = {name: column[order].tolist() for name, column in columns.items()}
    names = [rows.names[row] for row in order]
    _write(path, chosen, kind=rows.kind, names=names, decimals=decimals)


def write_overlap(path: Path, matrix: _Floats, *, names: Sequence[str]) -> None:
    """Write a matrix (M, M) whose cell (i, j) compares model i, a row, with model j, a column."""
    columns = dict(zip(names, matrix.T.tolist(), strict=True))
    _write(path, columns, kind="model", names=names)


def _write(
    path: Path,
    columns: Mapping[str, Sequence[float]],
    *,
    kind: str,
    names: Sequence[str],
    decimals: int | None = None,
) -> None:
    lines = zip(names, *columns.values(), strict=True)
    cells = [[name, *(_cell(value, decimals) for value in values)] for name, *values in lines]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, csv_text([[kind, *columns], *cells]))


def _cell(value: float, decimals: int | None) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return ""
    return value if decimals is None or isinstance(value, int) else f"{value:.{decimals}f}"


def _known_mean(values: _Values) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
