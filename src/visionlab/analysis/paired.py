"""Two columns of a table, seed by seed."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scipy import stats

from visionlab.analysis.tables import Cell, Column, Table


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean of a paired difference over seeds, with a 95 % interval of Student's t.

    Attributes:
        row: the label of the row.
        first: the label of the column that is subtracted.
        second: the label of the column from which it is.
        mean: of the difference.
        low: end of the interval, or None for a single seed.
        high: the other end, or None.
        num_seeds: that both columns have.
    """

    row: str
    first: str
    second: str
    mean: float
    low: float | None
    high: float | None
    num_seeds: int


def with_gain(
    table: Table, *, first: str, second: str, published: Mapping[str, Mapping[str, float]]
) -> Table:
    """Return the table with a column `gain`: by what share the second column exceeds the first.

    Raises:
        ValueError: the table has no such column.
    """
    _check_columns(table, first, second, name="table.gain")
    gain = Column(label="gain", value=f"{second} / {first} - 1")
    cells = dict(table.cells)
    for row in table.rows:
        pairs = _pairs(table, row, first, second)
        by_seed = {seed: more / less - 1 for seed, (less, more) in pairs.items() if less}
        if by_seed:
            said = published.get(row, {}).get(gain.label)
            cells[row, gain.label] = Cell(by_seed=by_seed, published=said)
    return replace(table, columns=[*table.columns, gain], cells=cells)


def differences(table: Table, *, first: str, second: str) -> list[Difference]:
    """Return for each row how much more the second column has than the first, paired by seed.

    Args:
        table: that has the columns.
        first: the label of a column.
        second: the label of another.

    Raises:
        ValueError: the table has no such column.
    """
    _check_columns(table, first, second, name="table.compare")
    found = []
    for row in table.rows:
        gains = [more - less for less, more in _pairs(table, row, first, second).values()]
        if gains:
            low, high = _interval(gains)
            found.append(
                Difference(
                    row=row,
                    first=first,
                    second=second,
                    mean=statistics.fmean(gains),
                    low=low,
                    high=high,
                    num_seeds=len(gains),
                )
            )
    return found


def _check_columns(table: Table, *labels: str, name: str) -> None:
    known = [column.label for column in table.columns]
    for label in labels:
        if label not in known:
            raise ValueError(f"{name} must be two of the columns {', '.join(known)}, got {label}")


def _pairs(table: Table, row: str, first: str, second: str) -> dict[int, tuple[float, float]]:
    """Return the numbers of two columns for each seed that both have."""
    cells = [table.cells.get((row, label)) for label in (first, second)]
    one, other = [cell.by_seed if cell else {} for cell in cells]
    return {seed: (one[seed], other[seed]) for seed in sorted(one.keys() & other.keys())}


def _interval(gains: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Return the ends of the 95 % interval of a mean; of one value there is none."""
    count = len(gains)
    if count < 2:
        return None, None
    reach = stats.t.ppf(0.975, count - 1) * statistics.stdev(gains) / math.sqrt(count)
    mean = statistics.fmean(gains)
    return mean - reach, mean + reach
