"""Schemas of `visionlab runs|diff|prune|repeat`, as those in `schemas`."""

from dataclasses import dataclass
from typing import Any

MISSING: Any = "???"  # OmegaConf's mark of a value that the YAML file gives


@dataclass
class DatasetOfRuns:
    """Where the data of runs is now.

    Attributes:
        root: the folder; null if it is where the runs found it.
    """

    root: str | None = MISSING


@dataclass
class SelectedRuns:
    """Runs below some folders.

    Attributes:
        runs: folders with runs in or below; null: outputs, multirun and tune.
            On the command line also without `runs=`.
        state: one or a list, as failed or [failed,killed]; null for any.
        task: its name; null for any.
        where: values of settings, as `where.optimizer.lr=0.1`.
    """

    runs: Any = MISSING
    state: Any = MISSING
    task: str | None = MISSING
    where: dict[str, Any] = MISSING


@dataclass
class Runs(SelectedRuns):
    """A list of runs.

    Attributes:
        sort: column: run, state, task, value, epochs, age or size.
        descending: largest first.
    """

    sort: str = MISSING
    descending: bool = MISSING


@dataclass
class Prune(SelectedRuns):
    """A removal of files of runs.

    Attributes:
        state: as of `visionlab runs`; null: finished, and remove=runs must have one.
        remove: checkpoints, or runs for whole run folders.
        keep: names of checkpoints that stay; * stands for any characters.
        older_than_days: days since the run ended, at least.
        max_epochs: only runs that did at most so many; null for any.
        apply: remove; false only says what would be removed.
    """

    remove: str = MISSING
    keep: list[str] = MISSING
    older_than_days: float = MISSING
    max_epochs: int | None = MISSING
    apply: bool = MISSING


@dataclass
class Diff:
    """Two runs side by side.

    Attributes:
        runs: their folders; on the command line also without `runs=`.
    """

    runs: Any = MISSING


@dataclass
class Repeat:
    """A run made again.

    Attributes:
        run: its folder; on the command line also without `run=`.
        device: auto, cpu, cuda or cuda:N; null takes the run's own.
        parts: packages of your own whose parts the run may name as `_target_`.
    """

    run: str = MISSING
    device: str | None = MISSING
    dataset: DatasetOfRuns = MISSING
    parts: list[str] = MISSING
