"""A list of runs with state, best value, progress, age and size."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from visionlab.analysis.jobs import read_jobs
from visionlab.analysis.records import RunRecord, read_runs
from visionlab.analysis.selection import RunSelection, select_runs
from visionlab.config.suggestions import nearest
from visionlab.config.terminal import count, output_width, printable, table_text
from visionlab.files.disk import folder_bytes, format_bytes
from visionlab.files.run_folder import count_states

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BestValue:
    """The best monitored metric on validation, over the epochs and models of a run."""

    value: float
    model: str  # that has it: model, or the name of an average


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A row of the list.

    Attributes:
        run: the run.
        best: its best value; None without validation.
        epoch: epochs done.
        epochs: epochs to do.
        age_seconds: since it ended, or started if it runs.
        size_bytes: of all its files.
    """

    run: RunRecord
    best: BestValue | None
    epoch: int
    epochs: int | None
    age_seconds: float
    size_bytes: int


_SORT_KEYS: Mapping[str, Callable[[RunSummary], Any]] = {
    "run": lambda row: str(row.run.folder),
    "state": lambda row: row.run.state,
    "task": lambda row: row.run.task,
    "value": lambda row: None if row.best is None else row.best.value,
    "epochs": lambda row: row.epoch,
    "age": lambda row: row.age_seconds,
    "size": lambda row: row.size_bytes,
}


def list_runs(
    folders: Sequence[Path], selection: RunSelection, *, sort: str, descending: bool
) -> None:
    """Log a table of the runs in or below some folders.

    Args:
        folders: with runs in or below them.
        selection: conditions on the runs.
        sort: the column to sort by; runs without a value come last.
        descending: largest first.

    Raises:
        ValueError: there are no runs, or a condition or column that none has.
    """
    if sort not in _SORT_KEYS:
        columns = ", ".join(_SORT_KEYS)
        raise ValueError(f"sort must be of {columns}, got {sort}{nearest(sort, _SORT_KEYS)}")
    scan = read_runs(folders)
    now = datetime.now()
    rows = [summarise(run, now=now) for run in select_runs(scan.runs, selection)]
    rows = sort_rows(rows, by=sort, descending=descending)
    if rows:
        width = output_width()
        _log.info("%s", table_text(_table(rows), width=width))
    states = count_states(row.run.state for row in rows)
    total = f", {format_bytes(sum(row.size_bytes for row in rows))}" if rows else ""
    _log.info(
        "%s of %s%s", len(rows), count(len(scan.runs), "run"), states and f": {states}{total}"
    )
    for folder, number in jobs_to_begin(scan.runs).items():
        _log.info("%s of %s did not begin yet", count(number, "job"), folder)
    for folder, reason in scan.unreadable.items():
        _log.warning("%s cannot be read: %s", folder, reason)


def jobs_to_begin(runs: Sequence[RunRecord]) -> dict[Path, int]:
    """Return how many jobs have no settings yet, by the folder of their multirun or chain."""
    found: dict[Path, int] = {}
    for folder in dict.fromkeys(run.folder.parent for run in runs):
        with suppress(OSError, ValueError):  # a damaged list
            jobs = read_jobs(folder)
            names = jobs.names if jobs else []
            found[folder] = sum(not (folder / name / "config.yaml").exists() for name in names)
    return {folder: number for folder, number in found.items() if number}


def summarise(run: RunRecord, *, now: datetime) -> RunSummary:
    """Return the row of a run."""
    last = run.rows[-1]["epoch"] if run.rows else 0
    epochs = run.settings.get("hparams.epochs")
    try:
        size = folder_bytes(run.folder)
    except OSError:  # a folder in it must not be read, or was just removed
        size = 0
    return RunSummary(
        run=run,
        best=best_value(run),
        epoch=int(run.info.get("epoch") or last or 0),
        epochs=epochs if isinstance(epochs, int) else None,
        age_seconds=(now - last_change(run)).total_seconds(),
        size_bytes=size,
    )


def best_value(run: RunRecord) -> BestValue | None:
    """Return the best monitored metric on validation of a run, None if it has none yet."""
    end = f"/{run.settings['task.monitor']}"
    pick = max if run.settings["task.mode"] == "max" else min
    found = [
        (value, key.removeprefix("val/").removesuffix(end))
        for row in run.rows
        for key, value in row.items()
        if key.startswith("val/") and key.endswith(end) and value is not None and value == value
    ]
    if not found:
        return None
    value, model = pick(found, key=lambda each: each[0])
    return BestValue(value=value, model=model)


def last_change(run: RunRecord) -> datetime:
    """Return when a run's record was last written: at its end, or at its start while it runs."""
    try:
        return datetime.fromisoformat(run.info["updated"])
    except (KeyError, ValueError):
        return datetime.fromtimestamp((run.folder / "config.yaml").stat().st_mtime)


def sort_rows(rows: Sequence[RunSummary], *, by: str, descending: bool) -> list[RunSummary]:
    """Return rows sorted by a column; those without a value come last."""
    key = _SORT_KEYS[by]
    with_value = [row for row in rows if key(row) is not None]
    without = [row for row in rows if key(row) is None]
    return [*sorted(with_value, key=key, reverse=descending), *without]


def format_age(seconds: float) -> str:
    """Return a duration in its largest unit, as 3 d."""
    size, unit = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{max(seconds, 0) / size:.0f} {unit}"


def _table(rows: Sequence[RunSummary]) -> Table:
    table = Table("run", "state", "task", "value", "epochs", "age", "size")
    table.columns[0].overflow = "fold"  # a path is shown whole
    for row in rows:
        run, best = row.run, row.best
        value = f"{run.settings['task.monitor']} {best.value:.4f} ({best.model})" if best else ""
        epochs = f"{row.epoch}/{'?' if row.epochs is None else row.epochs}"
        cells = (str(run.folder), run.state, run.task, value, epochs)
        ends = (format_age(row.age_seconds), format_bytes(row.size_bytes))
        table.add_row(*map(printable, (*cells, *ends)))
    return table
