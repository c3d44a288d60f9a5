"""Which table is made: as it is asked for, and what is left open as says most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from visionlab.analysis.measures import RUN, Model, Weights, differing, main_value
from visionlab.analysis.paired import Difference, differences, with_gain
from visionlab.analysis.tables import Column, Table, columns_over, make_table

_DECAY = "averaged.decay"
_MAX_KEYS = 4


@dataclass(frozen=True, kw_only=True)
class TablePlan:
    """What is asked of a table.

    Attributes:
        name: of its files.
        rows: a setting, or several, that tell rows apart; None for all in which runs differ.
        columns: a setting; columns by their labels, with `value` and `models` each; or None for
            the decays of averages.
        value: the number in columns over a setting; None for the most telling.
        models: in columns over a setting: model, average or any; None for all models where the
            setting is one of averages, for the model in training elsewhere.
        compare: two columns whose differences are paired by seed, or None.
        gain: two columns; one more says by what share the second exceeds the first; or None.
        source: of the published numbers, or None.
        published: numbers of the literature, by the labels of row and column.
    """

    name: str
    rows: str | Sequence[str] | None
    columns: str | Mapping[str, Mapping[str, Any]] | None
    value: str | None
    models: str | None
    compare: Sequence[str] | None
    gain: Sequence[str] | None
    source: str | None
    published: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        for name in ("compare", "gain"):
            pair = getattr(self, name)
            if pair is not None and len(pair) != 2:
                raise ValueError(f"table.{name} must be two columns, got {list(pair)}")


def planned_table(
    models: Sequence[Model], plan: TablePlan, *, weights: Weights
) -> tuple[Table, Sequence[Difference]]:
    """Return the table that is asked for, and the differences of its columns.

    Raises:
        ValueError: see `make_table`, `with_gain` and `differences`.
    """
    columns = _columns(models, plan)
    rows = [plan.rows] if isinstance(plan.rows, str) else plan.rows
    table = make_table(
        models,
        name=plan.name,
        rows=_rows(models, columns) if rows is None else rows,
        columns=columns,
        weights=weights,
        published=plan.published,
        source=plan.source,
    )
    if plan.gain:
        first, second = plan.gain
        table = with_gain(table, first=first, second=second, published=plan.published)
    if plan.compare is None:
        return table, []
    first, second = plan.compare
    return table, differences(table, first=first, second=second)


def _columns(models: Sequence[Model], plan: TablePlan) -> list[Column]:
    if isinstance(plan.columns, Mapping):
        return [Column(label=str(label), **said) for label, said in plan.columns.items()]
    value = plan.value or main_value(models)
    has_averages = any(model.name != "model" for model in models)
    if plan.columns is None and not has_averages:
        return [Column(label=value, value=value, models=plan.models or "model")]
    key = plan.columns or _DECAY
    kinds = plan.models or ("any" if key.startswith("averaged.") else "model")
    every = Column(label="", value=value, models=kinds)
    columns = columns_over([model for model in models if every.takes(model)], key, value=value)
    return [replace(column, models=kinds) for column in columns]


def _rows(models: Sequence[Model], columns: Sequence[Column]) -> list[str]:
    """Return the settings in which what the columns show differs, but for those of the columns.

    Of runs that differ in many, each is a row.
    """
    shown = [model for model in models if any(column.takes(model) for column in columns)]
    of_columns = {key for column in columns for key in column.having}
    keys = [key for key in differing(shown) if key not in of_columns] or ["model"]
    return keys if len(keys) <= _MAX_KEYS else [RUN]
