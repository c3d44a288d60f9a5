"""What `plots.py` does once its configuration is composed."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from visionlab.analysis.measures import (
    SEED,
    Model,
    differing,
    main_value,
    models_of,
    setting,
)
from visionlab.analysis.paired import Difference, differences, with_gain
from visionlab.analysis.records import Found, read_runs
from visionlab.analysis.table_files import Form, as_markdown, write_tables
from visionlab.analysis.tables import Column, Table, columns_over, make_table
from visionlab.run_files import leaves

_DECAY = "averaged.decay"
_log = logging.getLogger(__name__)


def plot(config: DictConfig) -> None:
    """Write the tables, figures and report that are asked for, and say what there was.

    Raises:
        ValueError: there are no runs, or nothing of what is asked for.
        OSError: the folder cannot be written.
    """
    found = read_runs([Path(each) for each in _listed(config.runs)])
    models = _where(models_of(found.runs), OmegaConf.to_container(config.where))
    _say_what_there_is(found, models)
    out = _made(Path(config.out).expanduser())
    table, compared = _table(models, config)
    form = Form(scale=config.table.scale, decimals=config.table.decimals)
    for path in write_tables(out, table, compared, form):
        _log.info("%s", path)
    _log.info("\n%s", as_markdown(table, form, compared))


def _listed(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, ListConfig) else [str(value)]


def _where(models: Sequence[Model], where: Any) -> list[Model]:
    """Return the models that have the settings asked for; what is asked of averages, they have."""
    kept = list(models)
    for key, value in leaves(where).items():
        by_value: dict[str, list[Model]] = {}
        free = [m for m in kept if key.startswith("averaged.") and m.name == "model"]
        for model in [model for model in kept if model not in free]:
            by_value.setdefault(str(setting(model, key, name="where")), []).append(model)
        if str(value) not in by_value:
            there = ", ".join(sorted(by_value))
            raise ValueError(f"where.{key} must be one of {there}, got {value}")
        kept = [model for model in kept if model in free or model in by_value[str(value)]]
    return kept


def _say_what_there_is(found: Found, models: Sequence[Model]) -> None:
    """Say how many runs there are, how they stand, and in what they differ."""
    runs = list({model.run.folder: model.run for model in models}.values())
    states = [run.state for run in runs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    _log.info("%d runs: %s", len(runs), counts)
    seeds = sorted({run.seed for run in runs})
    keys = differing(models)
    apart = ", ".join(keys) or "nothing"
    _log.info("they differ in %s; %d values of %s: %s", apart, len(seeds), SEED, seeds)
    for run in runs:
        if run.is_torn:
            _log.warning("%s: the last row of metrics.jsonl is cut short, and left out", run.folder)
    if found.skipped:
        _log.info("%d folders skipped that hold no run", len(found.skipped))
    for folder, reason in found.unreadable.items():
        _log.warning("%s cannot be read: %s", folder, reason)


def _made(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".written").touch()
        (out / ".written").unlink()
    except OSError as error:
        raise ValueError(
            f"out must be a folder that can be written, got {out}: {error.strerror}"
        ) from error
    return out


def _table(models: Sequence[Model], config: DictConfig) -> tuple[Table, list[Difference]]:
    asked = config.table
    published = {
        str(row): {str(column): float(number) for column, number in columns.items()}
        for row, columns in asked.published.items()
    }
    columns = _columns(models, config)
    keys = _rows(models, columns) if asked.rows is None else _listed(asked.rows)
    table = make_table(
        models,
        name=asked.name,
        rows=keys,
        columns=columns,
        weights=config.weights,
        published=published,
    )
    compared: list[Difference] = []
    if asked.gain:
        first, second = asked.gain
        table = with_gain(table, first=first, second=second, published=published)
    if asked.compare:
        first, second = asked.compare
        compared = differences(table, first=first, second=second)
    return table, compared


def _columns(models: Sequence[Model], config: DictConfig) -> list[Column]:
    """Return the columns that are asked for, or those that say most."""
    asked = config.table
    if isinstance(asked.columns, DictConfig):
        return [Column(label=str(label), **settings) for label, settings in asked.columns.items()]
    value = asked.value or main_value(models)
    has_averages = any(model.name != "model" for model in models)
    if asked.columns is None and not has_averages:
        return [Column(label=value, value=value, models=asked.models or "model")]
    key = asked.columns or _DECAY
    kinds = asked.models or ("any" if key.startswith("averaged.") else "model")
    every = Column(label="", value=value, models=kinds)
    columns = columns_over([model for model in models if every.takes(model)], key, value=value)
    return [replace(column, models=kinds) for column in columns]


def _rows(models: Sequence[Model], columns: Sequence[Column]) -> list[str]:
    """Return the settings in which what the columns show differs, but for those of the columns."""
    shown = [model for model in models if any(column.takes(model) for column in columns)]
    of_columns = {key for column in columns for key in column.having}
    return [key for key in differing(shown) if key not in of_columns] or ["model"]
