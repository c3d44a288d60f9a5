"""The table of all models of all runs, which the page sorts and filters."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from visionlab.analysis.measures import Model, differing, is_more_better, known_values, number
from visionlab.analysis.records import Record
from visionlab.analysis.report.elements import Html, breakable, joined, tag
from visionlab.analysis.report.facts import duration

_DECAY = "averaged.decay"  # the name of the model says it
_NOTHING = "-"
_GOOD = "finished"


@dataclass(frozen=True, kw_only=True)
class _Column:
    """A column.

    Attributes:
        head: its name.
        cells: what stands in it, one element td for each model.
        is_number: whether it has numbers.
        falls_first: whether the largest come first when it is sorted the first time.
    """

    head: str
    cells: Sequence[Html]
    is_number: bool = False
    falls_first: bool = False

    def top(self) -> Html:
        """Return the head of the column."""
        return tag(
            "th",
            breakable(self.head),
            scope="col",
            class_="number" if self.is_number else None,
            data_first="descending" if self.falls_first else None,
        )


def model_table(models: Sequence[Model], *, values: Sequence[str], beside: Path) -> Html:
    """Return a table with a row for each model: its settings, its numbers, its run.

    Args:
        models: in order.
        values: numbers that are wanted beside those that every model table has, as test/top1.
        beside: the folder of the page; links are relative to it.
    """
    keys = [key for key in differing(models) if key != _DECAY]
    if len({model.run.task for model in models}) > 1:  # nearly everything differs
        keys = [key for key in keys if "." not in key]
    columns = [
        _texts("model", [model.label for model in models]),
        *(_texts(key, [model.settings.get(key) for model in models]) for key in keys),
        _numbers("seed", [model.run.seed for model in models], decimals=0),
        *(_values(models, value) for value in _telling(models, values)),
        _column_of_states(models),
        _times(models),
        _Column(head="run folder", cells=[_linked(model.run, beside) for model in models]),
    ]
    rows = zip(*(column.cells for column in columns), strict=True)
    head = tag("thead", tag("tr", *(column.top() for column in columns)))
    body = tag("tbody", joined(*(tag("tr", *row) for row in rows), by="\n"))
    return tag("table", head, body, class_="sortable", id="model-table")


def _telling(models: Sequence[Model], values: Sequence[str]) -> list[str]:
    """Return the numbers asked for, and what each split says of loss and monitored number."""
    known = known_values(models)
    monitored = dict.fromkeys(str(model.run.settings.get("task.monitor")) for model in models)
    wanted = (*monitored, "loss")
    of_splits = sorted(
        (value for value in known if value.partition("/")[2] in wanted),
        key=lambda value: wanted.index(value.partition("/")[2]),
    )
    return list(dict.fromkeys([*(value for value in values if value in known), *of_splits]))


def _texts(head: str, values: Sequence[Any]) -> _Column:
    return _Column(head=head, cells=[tag("td", said(value)) for value in values])


def said(value: Any) -> str:
    """Return a setting as it is said."""
    if value is None:
        return _NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _numbers(head: str, values: Sequence[float | None], *, decimals: int) -> _Column:
    cells = [_NOTHING if value is None else f"{value:.{decimals}f}" for value in values]
    return _Column(
        head=head, cells=[tag("td", cell, class_="number") for cell in cells], is_number=True
    )


def _values(models: Sequence[Model], value: str) -> _Column:
    is_of_training = value.startswith("train/")  # of batches as they were trained on
    found = [
        None if is_of_training and model.name != "model" else number(model, value)
        for model in models
    ]
    shown = [None if each is None or not math.isfinite(each) else each for each in found]
    cells = _numbers(value, shown, decimals=4).cells
    return _Column(head=value, cells=cells, is_number=True, falls_first=is_more_better(value))


def _column_of_states(models: Sequence[Model]) -> _Column:
    cells = []
    for model in models:
        run = model.run
        done, asked = len(run.rows), run.settings.get("hparams.epochs")
        text = run.state if run.state == _GOOD else f"{run.state}, {done} of {asked} epochs"
        cells.append(tag("td", text, class_=None if run.state == _GOOD else "unfinished"))
    return _Column(head="state", cells=cells)


def _times(models: Sequence[Model]) -> _Column:
    cells = []
    for model in models:
        seconds = model.run.about.get("train_seconds")
        text = _NOTHING if seconds is None else duration(seconds)
        value = None if seconds is None else str(seconds)
        cells.append(tag("td", text, class_="number", data_value=value))
    return _Column(head="training time", cells=cells, is_number=True)


def _linked(run: Record, beside: Path) -> Html:
    return tag("td", link(run.folder, beside), class_="folder")


def link(folder: Path, beside: Path) -> Html:
    """Return a link to a folder; it goes on working where both are moved together."""
    try:
        where = quote(Path(os.path.relpath(folder, beside)).as_posix())
    except ValueError:  # on another drive
        where = folder.resolve().as_uri()
    return tag("a", folder.name, href=f"{where}/")
