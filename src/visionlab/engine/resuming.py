"""Where runs can go on: each has its newest checkpoint and the one before.

Runs that share a training write their checkpoints one after another. A process killed in between
leaves some of them one checkpoint behind the others, never more, so there is always a step from
which all can go on.
"""

from collections.abc import Sequence
from pathlib import Path

from visionlab.engine.checkpoints import LAST, PREVIOUS, good_checkpoints


def parties(folders: Sequence[Path]) -> list[tuple[int, list[Path]]]:
    """Return which runs can go on together, and from which step; 0 is the beginning.

    Args:
        folders: `checkpoints/` of each run, existing or not.

    Raises:
        ValueError: all checkpoints of a run are damaged.
    """
    steps = {folder: _steps(folder) for folder in folders}
    if common := set.intersection(*steps.values()):
        return [(max(common), list(folders))]
    newest = {folder: max(found) for folder, found in steps.items()}
    return [
        (step, [folder for folder in folders if newest[folder] == step])
        for step in sorted(set(newest.values()))
    ]


def go_back(folder: Path, *, step: int) -> None:
    """Make `last.pt` the checkpoint of a step that `parties` named; the newer one is dropped."""
    names = {content["state"]["step"]: name for name, content in good_checkpoints(folder)}
    if names.get(step) == PREVIOUS:
        (folder / PREVIOUS).replace(folder / LAST)
    elif step not in names:  # the beginning
        (folder / LAST).unlink(missing_ok=True)


def _steps(folder: Path) -> set[int]:
    found = {content["state"]["step"] for _, content in good_checkpoints(folder)}
    return found if (folder / PREVIOUS).exists() else found | {0}
