"""Common resume points of runs that share a training.

Such runs write their checkpoints one after another. A process killed in between leaves some of them
one checkpoint behind the others, never more. Each run keeps its newest checkpoint and the one
before, so there is always a position from which all can resume.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from visionlab.engine.checkpoints import LAST, PREVIOUS, intact_checkpoints


class Position(NamedTuple):
    """Progress of a run: its step, and the step of its last metrics row."""

    step: int
    row_step: int


START = Position(0, 0)


def common_resume_points(folders: Sequence[Path]) -> list[tuple[Position, list[Path]]]:
    """Group the folders `checkpoints/` of runs by the position from which they resume together.

    Raises:
        ValueError: all checkpoints of a run are damaged.
    """
    positions = {folder: _positions(folder) for folder in folders}
    if common := set.intersection(*positions.values()):
        return [(max(common), list(folders))]
    newest = {folder: max(found) for folder, found in positions.items()}
    return [
        (position, [folder for folder in folders if newest[folder] == position])
        for position in sorted(set(newest.values()))
    ]


def rewind(folder: Path, *, position: Position) -> None:
    """Make the checkpoint at a common resume point `last.pt`; drop a newer one."""
    names = {_position(content): name for name, content in intact_checkpoints(folder)}
    if names.get(position) == PREVIOUS:
        (folder / PREVIOUS).replace(folder / LAST)
    elif position not in names:  # the start
        (folder / LAST).unlink(missing_ok=True)


def _positions(folder: Path) -> set[Position]:
    found = {_position(content) for _, content in intact_checkpoints(folder)}
    return found if (folder / PREVIOUS).exists() else found | {START}


def _position(content: Mapping[str, Any]) -> Position:
    return Position(content["state"]["step"], content["state"]["row_step"])
