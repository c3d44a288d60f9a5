"""The commands that repeat runs."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from visionlab.analysis.records import Record
from visionlab.files.run_folder import read_yaml

_OF_THE_FOLDER = ("hydra.mode=", "hydra.sweep.dir=", "hydra.sweep.subdir=", "hydra.run.dir=")


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line, quoted for a shell, and the runs that it repeats."""

    line: str
    runs: Sequence[Record]


def commands(runs: Sequence[Record]) -> list[Command]:
    """Return what repeats runs: one command for those of a multirun, else one for each.

    Runs that did not write down how they were composed are left out. Folders are not named, so that
    new ones are made.
    """
    by_multirun: dict[Path, list[Record]] = {}
    for run in runs:
        by_multirun.setdefault(run.folder.parent, []).append(run)
    found = []
    for parent, members in by_multirun.items():
        line = _multirun(parent / "multirun.yaml")
        if line:
            found.append(Command(line=line, runs=members))
        else:
            found += [
                Command(line=_line(["train.py", *run.about["overrides"]]), runs=[run])
                for run in members
                if "overrides" in run.about
            ]
    return found


def _multirun(path: Path) -> str | None:
    """Return the command of a multirun, or None where there is none that can be read."""
    try:
        overrides: Any = read_yaml(path.read_text(encoding="utf-8"))["hydra"]["overrides"]
        given = [*overrides["task"], *overrides["hydra"]]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    kept = [each for each in given if not each.startswith(_OF_THE_FOLDER)]
    return _line(["train.py", "--multirun", *kept])


def _line(arguments: Sequence[str]) -> str:
    return f"python {shlex.join(arguments)}"
