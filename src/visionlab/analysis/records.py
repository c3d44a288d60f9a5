"""What runs left, read as far as it goes; nothing here needs torch, a model or a data set."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from visionlab.files.locks import is_held
from visionlab.files.run_folder import flatten_config, read_config, read_record, read_rows

State = Literal["finished", "running", "interrupted", "failed", "pruned", "killed", "waiting"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run, as its files tell it.

    Attributes:
        folder: of the run.
        settings: of `config.yaml`, by dotted name; a list is one setting.
        choices: the file that was chosen for each group, as in `scheduler=cosine`; of a run that
            did not write them down, the name of the class.
        state: how the run stands; `killed` says running and nobody works in it.
        is_torn: whether the last row was cut short; it is left out.
        about: `run.json`, whole.
        rows: of `metrics.jsonl`, one an epoch.
    """

    folder: Path
    settings: Mapping[str, Any]
    choices: Mapping[str, str]
    state: State
    is_torn: bool
    about: Mapping[str, Any]
    rows: Sequence[Mapping[str, float | None]]

    @property
    def task(self) -> str:
        """The name of the task."""
        return str(self.settings["task.name"])

    @property
    def seed(self) -> int:
        """The seed of everything random."""
        return int(self.settings["global_seed"])

    @property
    def models(self) -> list[str]:
        """The names of the model in training and of its averages, in this order."""
        names = [
            key.split("/")[1]
            for row in self.rows[-1:]
            for key in row
            if key.startswith(("val/", "norm/")) and "_minus_" not in key
        ]
        names += [
            name
            for models in self.about.get("results", {}).values()
            for name in models
            if not name.endswith("best")
        ]
        return list(dict.fromkeys(["model", *names]))


@dataclass(frozen=True, kw_only=True)
class Found:
    """Runs below some paths, in an order that does not depend on where they lie.

    Attributes:
        runs: at least one.
        skipped: folders below the paths in which there is no run.
        unreadable: folders whose files cannot be read, and why.
    """

    runs: Sequence[Record]
    skipped: Sequence[Path]
    unreadable: Mapping[Path, str]


def read_runs(paths: Sequence[Path]) -> Found:
    """Read all runs in and below some folders; one that is reached twice counts once.

    Raises:
        ValueError: there is none.
    """
    runs: dict[Path, Record] = {}
    skipped: list[Path] = []
    unreadable: dict[Path, str] = {}
    for path in paths:
        for folder, is_run in _walk(path.expanduser()):
            if not is_run:
                skipped.append(folder)
                continue
            try:
                runs.setdefault(folder.resolve(), read_run(folder))
            except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
                unreadable[folder] = " ".join(str(error).split()) or type(error).__name__
    if not runs:
        where = ", ".join(map(str, paths)) or "nothing"
        raise ValueError(f"runs must be folders with runs in or below them, got {where}")
    ordered = sorted(runs.values(), key=_order)
    return Found(runs=ordered, skipped=skipped, unreadable=unreadable)


def read_run(folder: Path) -> Record:
    """Read one run.

    Raises:
        ValueError: a file holds something else.
        OSError: a file is missing or cannot be read.
    """
    settings = flatten_config(read_config(folder))
    about = read_record(folder)
    rows, is_torn = _read_rows(folder / "metrics.jsonl")
    return Record(
        folder=folder,
        settings=settings,
        choices={**_classes(settings), **about.get("choices", {})},
        state=_state(folder, about),
        is_torn=is_torn,
        about=about,
        rows=rows,
    )


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the runs in or below a folder, and the highest folders that have none."""
    if (folder / "config.yaml").is_file():
        yield folder, True
        return
    if not folder.is_dir():
        return
    below: list[tuple[Path, bool]] = []
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            below += _walk(child)
    yield from below if any(is_run for _, is_run in below) else [(folder, False)]


def _read_rows(path: Path) -> tuple[list[dict[str, float]], bool]:
    rows = read_rows(path)
    is_torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"}\n")
    return rows, is_torn


def _state(folder: Path, about: Mapping[str, Any]) -> State:
    state: State = about.get("status", "waiting")
    if state == "running" and not is_held(folder):
        return "killed"
    return state


def _classes(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the class of each group, in small letters."""
    return {
        key.removesuffix("._target_"): str(value).rsplit(".", 1)[-1].lower()
        for key, value in settings.items()
        if key.endswith("._target_") and key.count(".") == 1
    }


def _order(run: Record) -> tuple[str, str]:
    """Return what sorts runs by what they are; by place only where that is the same."""
    settings = {key: value for key, value in run.settings.items() if key != "dataset.root"}
    return json.dumps(settings, sort_keys=True, default=str), str(run.folder)
