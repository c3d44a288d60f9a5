"""Commands that reproduce runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from visionlab.analysis.records import RunRecord
from visionlab.config.schemas import is_tune_only
from visionlab.config.terminal import shell_command
from visionlab.files.documents import read_text
from visionlab.files.run_folder import read_yaml

# omitted, so that a reproduction gets its own folder
_OF_FOLDERS = ("hydra.mode=", "hydra.sweep.dir=", "hydra.sweep.subdir=", "hydra.run.dir=")


class Command(NamedTuple):
    """A command line, quoted for a shell, and the runs that it reproduces."""

    line: str
    runs: Sequence[RunRecord]


def commands(runs: Sequence[RunRecord]) -> list[Command]:
    """Return one command for each multirun and for each single run.

    Runs without a recorded command line are left out.
    """
    by_folder: dict[Path, list[RunRecord]] = {}
    for run in runs:
        by_folder.setdefault(run.folder.parent, []).append(run)
    found = []
    for folder, members in by_folder.items():
        overrides = _multirun_overrides(folder / "multirun.yaml")
        if overrides is not None:
            options = members[0].info.get("options", [])  # those of all jobs
            found.append(Command(_line(*options, "--multirun", *overrides), members))
            continue
        for run in members:
            if "overrides" in run.info:
                own = [each for each in run.info["overrides"] if not is_tune_only(each)]
                found.append(Command(_line(*run.info.get("options", []), *own), [run]))
    return found


def _line(*arguments: str) -> str:
    return shell_command("train", *arguments)


def _multirun_overrides(path: Path) -> list[str] | None:
    """Return the overrides of a multirun, or None if there is no readable file."""
    try:
        overrides = read_yaml(read_text(path), origin=path)["hydra"]["overrides"]
        given = [*overrides["task"], *overrides["hydra"]]
        return [each for each in given if not each.startswith(_OF_FOLDERS)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
