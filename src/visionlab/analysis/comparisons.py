"""Comparisons of two columns of a table, paired by seed."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from visionlab.analysis.statistics import confidence_interval
from visionlab.analysis.tables import Cell, Column, Difference, Table


def add_gain(
    table: Table, *, columns: Sequence[str], published: Mapping[str, Mapping[str, float]]
) -> Table:
    """Return the table with a column `gain`: the relative gain of the second column over the first.

    `published` has values in the literature by the labels of row and column.

    Raises:
        ValueError: the table has no such column.
    """
    first, second = _checked(table, columns, name="table.gain")
    gain = Column(label="gain", metric=f"{second} / {first} - 1")
    cells = dict(table.cells)
    for row in table.rows:
        pairs = _pairs(table, row, first, second)
        if by_seed := {seed: new / old - 1 for seed, (old, new) in pairs.items() if old}:
            known = published.get(row, {}).get(gain.label)
            cells[row, gain.label] = Cell(by_seed=by_seed, published=known)
    return replace(table, columns=[*table.columns, gain], cells=cells)


def add_differences(table: Table, *, columns: Sequence[str]) -> Table:
    """Return the table with the difference of two columns in each row: second minus first.

    Raises:
        ValueError: the table has no such column.
    """
    first, second = _checked(table, columns, name="table.compare")
    found = []
    for row in table.rows:
        changes = [new - old for old, new in _pairs(table, row, first, second).values()]
        if changes:
            difference = Difference(
                row=row,
                first=first,
                second=second,
                mean=statistics.fmean(changes),
                interval=confidence_interval(changes),
                num_seeds=len(changes),
            )
            found.append(difference)
    return replace(table, differences=found)


def _checked(table: Table, columns: Sequence[str], *, name: str) -> tuple[str, str]:
    known = [column.label for column in table.columns]
    for label in columns:
        if label not in known:
            raise ValueError(f"{name} must be two of the columns {', '.join(known)}, got {label}")
    first, second = columns
    return first, second


def _pairs(table: Table, row: str, first: str, second: str) -> dict[int, tuple[float, float]]:
    """Return the values of two columns for each seed that both have."""
    one, other = (
        cell.by_seed if (cell := table.cells.get((row, label))) else {} for label in (first, second)
    )
    return {seed: (one[seed], other[seed]) for seed in sorted(one.keys() & other.keys())}
