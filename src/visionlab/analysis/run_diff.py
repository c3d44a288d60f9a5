"""Two runs side by side: what differs in settings and in what made them, and their metrics."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from visionlab.analysis.records import RunRecord, read_run
from visionlab.analysis.run_list import best_value
from visionlab.analysis.values import to_json
from visionlab.config.terminal import output_width, printable, table_text
from visionlab.files.run_folder import flatten_config

_ABSENT = "-"
_MADE_BY = ("versions", "commit", "parts", "hardware")
_log = logging.getLogger(__name__)


class Difference(NamedTuple):
    """A line of a comparison of two runs."""

    name: str
    first: Any
    second: Any

    @property
    def is_difference(self) -> bool:
        """Whether the values differ."""
        return to_json(self.first) != to_json(self.second)


def show_diff(folders: Sequence[Path]) -> None:
    """Log what differs between two runs.

    Raises:
        ValueError: these are not two run folders, or a file in one is damaged.
    """
    if len(folders) != 2:
        raise ValueError(f"runs must be two run folders, got {len(folders)}")
    for folder in folders:
        if not (folder / "config.yaml").is_file():
            raise ValueError(f"runs must be two run folders, got {folder} without config.yaml")
    first, second = map(read_run, folders)
    for name, folder in zip("AB", folders, strict=True):
        _log.info("%s: %s", name, folder)
    sections = {
        "settings": differing_settings(first, second),
        "made by": differing_origin(first, second),
        "results": [*_progress(first, second), *metrics(first, second)],
    }
    width = output_width()
    for title, lines in sections.items():
        if lines:
            _log.info("\n%s", table_text(_table(title, lines), width=width))
        else:
            _log.info("\n%s: no difference", title)


def differing_settings(first: RunRecord, second: RunRecord) -> list[Difference]:
    """Return the choices of config groups, and the settings, in which two runs differ."""
    choices = _differences(first.choices, second.choices)
    settings = _differences(first.settings, second.settings)
    return [*choices, *(each for each in settings if each.name not in {c.name for c in choices})]


def differing_origin(first: RunRecord, second: RunRecord) -> list[Difference]:
    """Return in what two runs differ of versions, commit, outside code and hardware."""
    ours, theirs = (
        flatten_config({key: run.info[key] for key in _MADE_BY if key in run.info})
        for run in (first, second)
    )
    return list(_differences(ours, theirs))


def metrics(first: RunRecord, second: RunRecord) -> list[Difference]:
    """Return all final metrics of two runs, as test/best/top1, equal ones too."""
    ours, theirs = (_flat_results(run) for run in (first, second))
    return [Difference(key, ours.get(key), theirs.get(key)) for key in ours | theirs]


def _flat_results(run: RunRecord) -> dict[str, float | None]:
    results: Mapping[str, Any] = run.info.get("results", {})
    return {
        f"{split}/{model}/{name}": value
        for split, models in results.items()
        for model, values in models.items()
        for name, value in values.items()
    }


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    keys = {**first, **second}
    lines = (Difference(key, first.get(key, _ABSENT), second.get(key, _ABSENT)) for key in keys)
    return [line for line in lines if line.is_difference]


def _progress(first: RunRecord, second: RunRecord) -> Iterator[Difference]:
    """Yield state, epochs and time of two runs, and the best monitored metric of each."""
    yield Difference("state", first.state, second.state)
    for key in ("epoch", "train_seconds"):
        yield Difference(key, first.info.get(key), second.info.get(key))
    best = [best_value(run) for run in (first, second)]
    for run in dict.fromkeys(run.settings["task.monitor"] for run in (first, second)):
        values = [
            each.value if each and own.settings["task.monitor"] == run else None
            for each, own in zip(best, (first, second), strict=True)
        ]
        yield Difference(f"best val/{run}", *values)
    models = [each.model if each else None for each in best]
    yield Difference("best model", *models)


def _table(title: str, lines: Sequence[Difference]) -> Table:
    has_numbers = any(_is_float(line.first) and _is_float(line.second) for line in lines)
    table = Table(title, "A", "B", *(["B - A"] if has_numbers else []))
    for column in table.columns:
        column.overflow = "fold"
    for line in lines:
        cells = [line.name, _shown(line.first), _shown(line.second)]
        if has_numbers:
            are_floats = _is_float(line.first) and _is_float(line.second)
            cells.append(f"{line.second - line.first:+.4f}" if are_floats else "")
        table.add_row(*map(printable, cells))
    return table


def _is_float(value: Any) -> bool:
    return isinstance(value, float)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else _ABSENT if value is None else to_json(value)
