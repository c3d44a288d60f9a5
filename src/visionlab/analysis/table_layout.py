"""Rows and columns of a table: those given, and defaults for the others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from visionlab.analysis.comparisons import add_differences, add_gain
from visionlab.analysis.groups import by_data, with_metric
from visionlab.analysis.labels import join_names, value_label, values_labels
from visionlab.analysis.metrics import Weights, main_metric
from visionlab.analysis.models import DECAY, RUN, ModelRecord, get_setting, varying_settings
from visionlab.analysis.options import TableOptions
from visionlab.analysis.tables import Column, Table, make_table
from visionlab.analysis.values import distinct

_MAX_KEYS = 4


def build_tables(
    models: Sequence[ModelRecord], options: TableOptions, *, weights: Weights
) -> list[Table]:
    """Return the table that the options describe, one for each task and data set.

    Data sets are columns of one table if the options say so.

    Raises:
        ValueError: see `make_table`, `add_gain` and `add_differences`.
    """
    if str(options.columns).partition(".")[0] == "dataset":
        return [_build_table(models, options, weights)]
    is_open = all(value is None for value in (options.rows, options.columns, options.value))
    finished = {model.run.folder for model in models if model.run.state == "finished"}
    measured = [
        model
        for _, members in by_data(models)
        if finished & {model.run.folder for model in members}
        for model in members
    ]
    groups = by_data(measured if measured or is_open else models)
    return [
        _build_table(members, replace(options, name=join_names(options.name, name)), weights)
        for name, members in with_metric(groups, options.value)
    ]


def _build_table(models: Sequence[ModelRecord], options: TableOptions, weights: Weights) -> Table:
    columns = _columns(models, options)
    table = make_table(
        models,
        name=options.name,
        rows=_rows(models, options, columns),
        columns=columns,
        weights=weights,
        published=options.published,
        source=options.source,
        number_format=options.number_format,
    )
    if options.gain is not None:
        table = add_gain(
            table, columns=list(map(value_label, options.gain)), published=options.published
        )
    if options.compare is not None:
        table = add_differences(table, columns=list(map(value_label, options.compare)))
    return table


def columns_over(
    models: Sequence[ModelRecord], key: str, *, metric: str, kind: str = "any"
) -> list[Column]:
    """Return a column with a metric for each value of a setting, in order.

    Raises:
        ValueError: a run has no such setting.
    """
    every = Column(label="", metric=metric, models=kind)
    values = distinct(
        get_setting(model, key, name="table.columns") for model in models if every.includes(model)
    )
    labels = values_labels([[value] for value in values])
    return [
        replace(every, label=label, having={key: value})
        for label, value in zip(labels, values, strict=True)
    ]


def _columns(models: Sequence[ModelRecord], options: TableOptions) -> list[Column]:
    if isinstance(options.columns, Mapping):
        return [
            Column(label=str(label), metric=given["value"], models=given.get("models", "any"))
            for label, given in options.columns.items()
        ]
    metric = options.value or main_metric(models)
    if options.columns is None and all(model.is_raw for model in models):
        return [Column(label=metric, metric=metric, models=options.models or "model")]
    key = options.columns or DECAY
    kind = options.models or ("any" if key.startswith("averaged.") else "model")
    return columns_over(models, key, metric=metric, kind=kind)


def _rows(
    models: Sequence[ModelRecord], options: TableOptions, columns: Sequence[Column]
) -> Sequence[str]:
    """Return the settings given, which all finished runs must have, or the default ones.

    These are the settings that vary and have no columns; if there are many, one row per run.
    """
    if options.rows is not None:
        rows = [options.rows] if isinstance(options.rows, str) else options.rows
        for model in (model for model in models if model.run.state == "finished"):
            for key in rows:
                get_setting(model, key, name="table.rows")
        return rows
    shown = [model for model in models if any(column.includes(model) for column in columns)]
    of_columns = {key for column in columns for key in column.having}
    keys = [key for key in varying_settings(shown) if key not in of_columns] or ["model"]
    return keys if len(keys) <= _MAX_KEYS else [RUN]
