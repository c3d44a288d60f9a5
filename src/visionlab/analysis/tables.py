"""Tables of numbers over settings: means over seeds.

Runs of one seed count once: they are averaged before seeds are. Standard deviations have n - 1 in
the denominator.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from visionlab.analysis.measures import (
    Model,
    Weights,
    check_value,
    differing,
    is_more_better,
    number,
    setting,
)
from visionlab.analysis.values import order

_MAX_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Column:
    """What stands in a column.

    Attributes:
        label: its head.
        value: the number, as `<split>/<number>`.
        having: the settings that a model must have to count here.
        models: model, for the one in training; average, for averages; any, for both.
    """

    label: str
    value: str
    having: Mapping[str, Any] = field(default_factory=dict)
    models: str = "any"

    def __post_init__(self) -> None:
        if self.models not in ("model", "average", "any"):
            raise ValueError(f"models must be model, average or any, got {self.models}")

    def takes(self, model: Model) -> bool:
        """Return whether a model counts here."""
        is_wanted = self.models == "any" or (model.name == "model") == (self.models == "model")
        return is_wanted and all(
            setting(model, key, name="columns") == value for key, value in self.having.items()
        )


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number over seeds.

    Attributes:
        by_seed: the number of each seed.
        is_best: whether no other row has a better mean in this column.
        published: what the literature says, or None.
    """

    by_seed: Mapping[int, float]
    is_best: bool = False
    published: float | None = None

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return statistics.fmean(self.by_seed.values())

    @property
    def std(self) -> float | None:
        """The standard deviation over seeds, or None for a single one."""
        values = list(self.by_seed.values())
        return statistics.stdev(values) if len(values) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        name: of its files.
        row_keys: the settings that tell rows apart.
        rows: the labels of the rows.
        columns: in order.
        cells: by the labels of row and column, where there is anything.
        left_out: runs that did not finish, which do not count.
        source: of the published numbers, or None.
    """

    name: str
    row_keys: Sequence[str]
    rows: Sequence[str]
    columns: Sequence[Column]
    cells: Mapping[tuple[str, str], Cell]
    left_out: Sequence[str]
    source: str | None


def columns_over(models: Sequence[Model], key: str, *, value: str) -> list[Column]:
    """Return a column for each value of a setting, in order.

    Raises:
        ValueError: a run has no such setting.
    """
    found = {_text(each): each for each in (setting(m, key, name="table.columns") for m in models)}
    return [
        Column(label=_label(each), value=value, having={key: each})
        for each in sorted(found.values(), key=order)
    ]


def make_table(
    models: Sequence[Model],
    *,
    name: str,
    rows: Sequence[str],
    columns: Sequence[Column],
    weights: Weights,
    published: Mapping[str, Mapping[str, float]],
    source: str | None,
) -> Table:
    """Return a table.

    Runs that have not finished are left out, and listed.

    Args:
        models: of runs of one task.
        name: of the table's files.
        rows: the settings that tell rows apart.
        columns: what stands in them.
        weights: last or best.
        published: numbers of the literature, by the labels of row and column.
        source: of these, or None.

    Raises:
        ValueError: runs of several tasks; a setting or number that a finished run does not have; or
            runs of one cell that differ in more than their seeds.
    """
    tasks = sorted({model.run.task for model in models})
    if len(tasks) > 1:
        raise ValueError(f"runs of a table must have one task, got {', '.join(tasks)}")
    finished = [model for model in models if model.run.state == "finished"]
    if not finished:
        raise ValueError(f"runs of a table must be finished, got none of {len(models)}")
    for column in columns:
        check_value(finished, column.value, name="table.value")
    by_row: dict[str, list[Model]] = {}
    for model in sorted(finished, key=lambda each: _row_order(each, rows)):
        by_row.setdefault(_row_label(model, rows), []).append(model)
    cells = {
        (row, column.label): Cell(
            by_seed=by_seed, published=published.get(row, {}).get(column.label)
        )
        for row, members in by_row.items()
        for column in columns
        if (by_seed := _by_seed(members, column, weights, row))
    }
    best = {column.label: _best_mean(cells, column) for column in columns}
    return Table(
        name=name,
        row_keys=rows,
        rows=list(by_row),
        columns=columns,
        cells={
            key: replace(cell, is_best=cell.mean == best[key[1]]) for key, cell in cells.items()
        },
        left_out=sorted({str(m.run.folder) for m in models if m.run.state != "finished"}),
        source=source,
    )


def _by_seed(
    members: Sequence[Model], column: Column, weights: Weights, row: str
) -> dict[int, float]:
    """Return the number of a cell for each seed."""
    counted = [model for model in members if column.takes(model)]
    if more := differing(counted):
        raise ValueError(
            f"table.rows and table.columns must leave nothing else to differ, "
            f"got {', '.join(more[:_MAX_NAMED])} in row {row}, column {column.label}"
        )
    values: dict[int, list[float]] = {}
    missing = []
    for model in counted:
        value = number(model, column.value, weights=weights)
        if value is None:
            missing.append(str(model.run.folder))
        else:
            values.setdefault(model.run.seed, []).append(value)
    if missing:
        others = f" and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
        raise ValueError(
            f"table.value must be a number of all finished runs, got {column.value}, which is "
            f"missing in {', '.join(missing[:_MAX_NAMED])}{others}"
        )
    return {seed: statistics.fmean(several) for seed, several in sorted(values.items())}


def _best_mean(cells: Mapping[tuple[str, str], Cell], column: Column) -> float | None:
    """Return the best mean of a column, or None if there is nothing to compare."""
    means = [cell.mean for (_, label), cell in cells.items() if label == column.label]
    if len(means) < 2:
        return None
    return max(means) if is_more_better(column.value) else min(means)


def _row_label(model: Model, keys: Sequence[str]) -> str:
    return ", ".join(_label(setting(model, key, name="table.rows")) for key in keys)


def _row_order(model: Model, keys: Sequence[str]) -> list[tuple[bool, float, str]]:
    return [order(setting(model, key, name="table.rows")) for key in keys]


def _label(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
