"""Where runs can go on: each has its newest checkpoint and the one before.

Runs that share a training write their checkpoints one after another. A process killed in between
leaves some of them one checkpoint behind the others, never more, so there is always a position from
which all can go on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from visionlab.engine.checkpoints import LAST, PREVIOUS, good_checkpoints


class Position(NamedTuple):
    """Where a run is: its step, and the step after which its last metrics row was written."""

    step: int
    row_step: int


BEGINNING = Position(0, 0)


def common_resume_points(folders: Sequence[Path]) -> list[tuple[Position, list[Path]]]:
    """Return which runs can go on together, and from where.

    Args:
        folders: `checkpoints/` of each run, existing or not.

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
    """Make `last.pt` the checkpoint at a common resume point; drop a newer one."""
    at = {_position(content): name for name, content in good_checkpoints(folder)}
    if at.get(position) == PREVIOUS:
        (folder / PREVIOUS).replace(folder / LAST)
    elif position not in at:  # the beginning
        (folder / LAST).unlink(missing_ok=True)


def _positions(folder: Path) -> set[Position]:
    found = {_position(content) for _, content in good_checkpoints(folder)}
    return found if (folder / PREVIOUS).exists() else found | {BEGINNING}


def _position(content: Mapping[str, Any]) -> Position:
    return Position(content["state"]["step"], content["state"]["row_step"])
