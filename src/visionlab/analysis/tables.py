"""Tables of metrics over settings: means and standard deviations over seeds."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from visionlab.analysis.labels import setting_label, values_labels
from visionlab.analysis.metrics import Weights, check_metric, final_metric, higher_is_better
from visionlab.analysis.models import (
    DECAY,
    UNIFORM,
    UNIFORM_LABEL,
    ModelRecord,
    get_setting,
    varying_settings,
)
from visionlab.analysis.statistics import are_apart, mean_by_seed, std
from visionlab.analysis.values import sort_key, to_json
from visionlab.core.checks import check_positive, check_range

_MAX_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: one metric of some models."""

    label: str
    metric: str  # <split>/<name>
    having: Mapping[str, Any] = field(default_factory=dict)  # a setting that models must have
    models: str = "any"  # model for the raw model, average for averages, any for both

    def __post_init__(self) -> None:
        if self.models not in ("model", "average", "any"):
            raise ValueError(f"models must be model, average or any, got {self.models}")

    @property
    def heading(self) -> str:
        """Return the label after the setting whose value it is, if any."""
        if self.having.get(DECAY) == UNIFORM:  # which has no decay
            return UNIFORM_LABEL
        return f"{setting_label(*self.having)}: {self.label}" if self.having else self.label

    def includes(self, model: ModelRecord) -> bool:
        """Return whether a model belongs in this column."""
        if self.models != "any" and model.is_raw != (self.models == "model"):
            return False
        having = self.having.items()
        return all(get_setting(model, key, name="columns") == value for key, value in having)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A metric over seeds."""

    by_seed: Mapping[int, float]
    is_best: bool = False  # of all in its column, and beyond noise
    published: float | None = None  # value in the literature

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.by_seed.values())

    @property
    def std(self) -> float | None:
        """Standard deviation over seeds, or None for a single seed."""
        return std(list(self.by_seed.values())) if len(self.by_seed) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean difference of two columns in one row, second minus first, over the seeds of both."""

    row: str
    first: str
    second: str
    mean: float
    interval: tuple[float, float] | None  # of 95 % by Student's t, or None for a single seed
    num_seeds: int


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """Number format of a table."""

    scale: float  # factor on all values, 100 for per cent
    decimals: int  # digits after the decimal point

    def __post_init__(self) -> None:
        check_positive(self, "scale")
        check_range(self, "[0, 10]", "decimals")

    def number(self, value: float, *, signed: bool = False) -> str:
        """Return a value as text."""
        return f"{value * self.scale:{'+' if signed else ''}.{self.decimals}f}"

    def cell(self, cell: Cell) -> str:
        """Return `mean ± std [published, difference]`, as far as there is any."""
        text = self.number(cell.mean)
        if cell.std is not None:
            text += f" ± {self.number(cell.std)}"
        if cell.published is not None:
            off = self.number(cell.mean - cell.published / self.scale, signed=True)
            text += f" [{cell.published:.{self.decimals}f}, {off}]"
        return text


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table."""

    name: str  # stem of its files
    row_keys: Sequence[str]  # settings that distinguish rows
    rows: Sequence[str]  # labels
    columns: Sequence[Column]
    cells: Mapping[tuple[str, str], Cell]  # by the labels of row and column; no empty ones
    num_left_out: int  # unfinished runs
    source: str | None  # of the published values
    number_format: NumberFormat
    differences: Sequence[Difference] = ()

    @property
    def header(self) -> list[str]:
        """Headings of all columns, the first of which has the row labels."""
        return [", ".join(self.row_keys), *(column.heading for column in self.columns)]

    def row_cells(self, row: str) -> list[Cell | None]:
        """Return the cells of a row, None for empty ones."""
        return [self.cells.get((row, column.label)) for column in self.columns]


def make_table(
    models: Sequence[ModelRecord],
    *,
    name: str,
    rows: Sequence[str],
    columns: Sequence[Column],
    weights: Weights,
    published: Mapping[str, Mapping[str, float]],
    source: str | None,
    number_format: NumberFormat,
) -> Table:
    """Return a table of the finished runs of one task.

    `rows` are the settings that distinguish rows, none where a run lacks one; `published` are the
    values in the literature by the labels of row and column; for the others see `Table`.

    Raises:
        ValueError: there are several tasks, or no finished run; a finished run lacks a metric or
            a column's setting; or models of one cell differ in more than their seeds.
    """
    tasks = sorted({model.run.task for model in models})
    if len(tasks) > 1:
        raise ValueError(f"runs of a table must have one task, got {', '.join(tasks)}")
    finished = [model for model in models if model.run.state == "finished"]
    if not finished:
        raise ValueError(f"runs of a table must be finished, got none of {len(models)}")
    for column in columns:
        check_metric(finished, column.metric, name="table.value")
    groups: dict[str, list[ModelRecord]] = {}
    values = {id(m): [m.settings.get(key) for key in rows] for m in finished}
    for model in sorted(finished, key=lambda m: [sort_key(value) for value in values[id(m)]]):
        groups.setdefault(to_json(values[id(model)]), []).append(model)
    of_rows = [values[id(members[0])] for members in groups.values()]
    by_row = dict(zip(values_labels(of_rows), groups.values(), strict=True))
    cells = {
        (row, column.label): Cell(by_seed=seeds, published=published.get(row, {}).get(column.label))
        for row, members in by_row.items()
        for column in columns
        if (seeds := _by_seed(members, column, weights, row))
    }
    for column in columns:
        of_column = {key: cell for key, cell in cells.items() if key[1] == column.label}
        pick = max if higher_is_better(column.metric, finished) else min
        best = pick(of_column, key=lambda key: of_column[key].mean, default=None)
        if best is not None:
            others = [cell for key, cell in of_column.items() if key != best]
            is_best = bool(others) and all(_are_apart(of_column[best], cell) for cell in others)
            cells[best] = replace(of_column[best], is_best=is_best)
    return Table(
        name=name,
        row_keys=rows,
        rows=list(by_row),
        columns=columns,
        cells=cells,
        num_left_out=len({m.run.folder for m in models if m.run.state != "finished"}),
        source=source,
        number_format=number_format,
    )


def _are_apart(one: Cell, other: Cell) -> bool:
    return are_apart(list(one.by_seed.values()), list(other.by_seed.values()))


def _by_seed(
    members: Sequence[ModelRecord], column: Column, weights: Weights, row: str
) -> dict[int, float]:
    included = [model for model in members if column.includes(model)]
    if more := varying_settings(included):
        raise ValueError(
            f"table.rows and table.columns must leave nothing else to differ, "
            f"got {', '.join(more[:_MAX_NAMED])} in row {row}, column {column.label}"
        )
    found = [(model, final_metric(model, column.metric, weights=weights)) for model in included]
    missing = [str(model.run.folder) for model, value in found if value is None]
    if missing:
        others = f" and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
        raise ValueError(
            f"table.value must be a metric of all finished runs, got {column.metric}, which is "
            f"missing in {', '.join(missing[:_MAX_NAMED])}{others}"
        )
    return mean_by_seed((model.run.seed, value) for model, value in found if value is not None)
