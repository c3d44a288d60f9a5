"""Which runs may lose files, and why others may not. Imports no torch."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionlab.analysis.jobs import read_jobs
from visionlab.analysis.records import RunRecord
from visionlab.analysis.selection import RunSelection
from visionlab.config.suggestions import nearest
from visionlab.files.locks import is_held
from visionlab.files.run_folder import read_record

_REMOVALS = ("checkpoints", "runs")


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """Rules by which files of runs are removed; the schema `Prune` explains them."""

    selection: RunSelection
    remove: str
    keep: Sequence[str]
    older_than_days: float
    max_epochs: int | None
    apply: bool

    def __post_init__(self) -> None:
        if self.remove not in _REMOVALS:
            hint = nearest(self.remove, _REMOVALS)
            raise ValueError(f"remove must be checkpoints or runs, got {self.remove}{hint}")
        if not 0 <= self.older_than_days < float("inf"):
            raise ValueError(f"older_than_days must be >= 0, got {self.older_than_days}")
        if self.max_epochs is not None and self.max_epochs < 0:
            raise ValueError(f"max_epochs must be >= 0 or null, got {self.max_epochs}")
        if self.remove == "runs" and not self.selection.states:
            raise ValueError("state must be given with remove=runs, as failed, got null")
        if "running" in self.selection.states:
            raise ValueError("state must be of runs that have ended, got running")
        if self.remove == "checkpoints" and not self.keep:
            raise ValueError("keep must name a checkpoint at least, got []")


class Protection:
    """Why runs must stay as they are, by what all known runs say of each other.

    Args:
        runs: all that are known.
        unreadable: folders of runs that could not be read.
        roots: the folders in or below which runs were found.
    """

    def __init__(
        self, runs: Sequence[RunRecord], *, unreadable: Iterable[Path], roots: Sequence[Path]
    ) -> None:
        self._users = _users(runs)
        self._roots = roots
        self._states = {run.folder.resolve(): run.state for run in runs}
        self._unreadable = {folder: _text(folder / "config.yaml") for folder in unreadable}

    def reason(self, run: RunRecord, *, selected: set[Path]) -> str | None:
        """Return why a run must stay as it is, or None if it may lose files.

        `selected` are the folders, resolved, of all runs that shall lose files.
        """
        folder = run.folder.resolve()
        if self._is_linked(run.folder):
            return "is reached by a symbolic link"
        if run.state == "running" or is_held(folder):
            return "is running"
        if holder := next((each for each in folder.parents if _is_busy(each)), None):
            return f"belongs to {holder}, which is running"
        if user := next((each for each in self._users.get(folder, []) if each != folder), None):
            return f"{user} starts from it"
        for other, text in self._unreadable.items():
            if text is None or folder.name in text:
                return f"{other} may start from it and cannot be read"
        if _is_of_unfinished_chain(folder):
            return "its chain is not finished"
        return self._shared(run, selected)

    def _is_linked(self, folder: Path) -> bool:
        return not any(
            root.resolve() / folder.relative_to(root) == folder.resolve()
            for root in self._roots
            if folder.is_relative_to(root)
        )

    def _shared(self, run: RunRecord, selected: set[Path]) -> str | None:
        """Return a reason for an unfinished run that resumes together with others that stay."""
        if run.state == "finished":
            return None
        others = [Path(each).resolve() for each in run.info.get("shares_training_with", [])]
        waiting = [each for each in others if self._states.get(each, "finished") != "finished"]
        staying = [each for each in waiting if each not in selected]
        return f"shares its training with {staying[0]}" if staying else None


def _users(runs: Sequence[RunRecord]) -> dict[Path, list[Path]]:
    """Return, by folder, the runs whose settings or weights name something in or below it."""
    users: dict[Path, list[Path]] = {}
    for run in runs:
        folder = run.folder.resolve()
        content = [*run.settings.values(), run.info.get("initial_weights")]
        paths = {_real_path(text) for text in _texts(content) if _may_be_path(text)}
        for place in {each for path in paths for each in (path, *path.parents)}:
            users.setdefault(place, []).append(folder)
    return users


def _may_be_path(text: str) -> bool:
    return "\0" not in text and ("/" in text or os.path.lexists(text))


def _real_path(text: str) -> Path:
    """Return a path from the current folder, where settings were given, without links."""
    return Path(os.path.realpath(os.path.expanduser(text)))  # noqa: PTH111 - Path raises


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def _text(path: Path) -> str | None:
    """Return the text of a file as far as it can be read, None if it cannot."""
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return None


def _is_busy(folder: Path) -> bool:
    """Return whether a folder is that of a chain or a multirun that is running."""
    return any(
        (each / "run.log").is_file() and is_held(each) for each in (folder, folder / ".sweep")
    )


def _is_of_unfinished_chain(folder: Path) -> bool:
    """Return whether a run is a stage of a chain, alone or in a multirun, that is not finished."""
    try:
        jobs = read_jobs(folder.parent)
        if jobs is None or not jobs.are_stages:
            return False
        records = (read_record(folder.parent / name) for name in jobs.names)
        return any(record.get("status") != "finished" for record in records)
    except (OSError, ValueError):
        return True  # nothing is known about the other stages
