"""Weights of single epochs and snapshots: when they are saved, their names, and which stay."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from visionlab.core.checks import check_positive
from visionlab.files.tensors import read_tensors

_NAME = re.compile(r"(?:(?P<model>.+)_)?epoch_(?P<epoch>\d{4,})")
_SNAPSHOT = re.compile(r"(?:(?P<model>.+)_)?snapshot_(?P<number>\d{2,})")
_SNAPSHOTS = re.compile(r"cycles|every:(?P<epochs>[1-9]\d{0,5})")
_KEEP = re.compile(r"all|(?P<rule>last|best):(?P<count>[1-9]\d{0,5})")


@dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """When checkpoints are written, and which of them stay.

    Attributes:
        every_minutes: age at which `last.pt` is written anew within an epoch, or None for never.
        every_epochs: epochs between the files `epoch_0010.pt` of the model and
            `<average>_epoch_0010.pt` of each average, or None for no such files.
        keep: which of these files stay, of each model: `all`; `last:N`, the newest; or `best:N`,
            those with the best monitored metric on validation.
        snapshots: which weights are kept as members of an ensemble, in `snapshot_01.pt` of the
            model and `<average>_snapshot_01.pt` of each average: `cycles`, those at the end of each
            cycle of the schedule; `every:N`, those after every N epochs; or None.
        snapshots_last_epochs: epochs at the end of the run in which `every:N` counts, or None for
            all.
    """

    training_invariant: ClassVar[Sequence[str]] = (
        *("every_minutes", "every_epochs", "keep", "snapshots", "snapshots_last_epochs"),
    )
    every_minutes: float | None
    every_epochs: int | None
    keep: str
    snapshots: str | None
    snapshots_last_epochs: int | None

    def __post_init__(self) -> None:
        if self.every_minutes is not None and not self.every_minutes >= 0:
            raise ValueError(f"every_minutes must be >= 0 or null, got {self.every_minutes}")
        if self.every_epochs is not None:
            check_positive(self, "every_epochs")
        if not _KEEP.fullmatch(self.keep):
            raise ValueError(f"keep must be all, last:N or best:N with N >= 1, got {self.keep!r}")
        if self.snapshots is not None and not _SNAPSHOTS.fullmatch(self.snapshots):
            raise ValueError(f"snapshots must be cycles, every:N or null, got {self.snapshots!r}")
        if self.snapshots_last_epochs is not None:
            check_positive(self, "snapshots_last_epochs")
            if self.snapshots in (None, "cycles"):
                raise ValueError(
                    "snapshots_last_epochs must be null unless snapshots is every:N, "
                    f"got {self.snapshots_last_epochs}"
                )

    def is_due(self, epoch: int) -> bool:
        """Return whether weights are saved after this epoch."""
        return self.every_epochs is not None and epoch % self.every_epochs == 0

    def snapshot_epochs(
        self, *, epochs: int, cycle_ends: Sequence[int], steps_per_epoch: int
    ) -> list[int]:
        """Return the epochs, ascending, after which a run keeps snapshots.

        Args:
            epochs: of the run.
            cycle_ends: finished steps at the ends of the schedule's whole cycles.
            steps_per_epoch: optimizer steps of an epoch.

        Raises:
            ValueError: there are none, or a cycle ends within an epoch.
        """
        if self.snapshots is None:
            return []
        if self.snapshots == "cycles":
            if not cycle_ends:
                raise ValueError(
                    "checkpoint.snapshots=cycles needs a schedule with a cycle that ends within "
                    f"the run of {epochs} epochs, got none"
                )
            within = [end for end in cycle_ends if end % steps_per_epoch]
            if within:
                raise ValueError(
                    "checkpoint.snapshots=cycles needs cycles that end with an epoch of "
                    f"{steps_per_epoch} steps, got an end after step {within[0]}"
                )
            return [end // steps_per_epoch for end in cycle_ends]
        match = _SNAPSHOTS.fullmatch(self.snapshots)
        assert match is not None
        every = int(match["epochs"])
        first = epochs - (self.snapshots_last_epochs or epochs)
        found = [epoch for epoch in range(every, epochs + 1, every) if epoch > first]
        if not found:
            raise ValueError(
                f"checkpoint.snapshots must come within the run of {epochs} epochs, "
                f"got {self.snapshots}"
            )
        return found

    def superseded(self, files: Mapping[int, Path]) -> list[Path]:
        """Return those of the files of a model, by epoch, that do not stay."""
        keep = _KEEP.fullmatch(self.keep)
        if keep is None or keep["rule"] is None or len(files) <= int(keep["count"]):
            return []
        if keep["rule"] == "last":
            order = sorted(files)
        else:  # of equal ones the first epoch stays
            order = sorted(files, key=lambda epoch: (_score(files[epoch]), -epoch))
        return [files[epoch] for epoch in order[: -int(keep["count"])]]


def epoch_name(model: str, epoch: int) -> str:
    """Return the file stem of a model's weights after an epoch."""
    start = "" if model == "model" else f"{model}_"
    return f"{start}epoch_{epoch:04d}"


def snapshot_name(model: str, number: int) -> str:
    """Return the file stem of a model's snapshot; the first is number 1."""
    start = "" if model == "model" else f"{model}_"
    return f"{start}snapshot_{number:02d}"


def is_of_one_epoch(stem: str) -> bool:
    """Return whether a file stem is that of the weights of a single epoch, or of a snapshot."""
    return bool(_NAME.fullmatch(stem) or _SNAPSHOT.fullmatch(stem))


def epoch_files(folder: Path, model: str, *, until: int) -> dict[int, Path]:
    """Return the files of a model by epoch, without those after epoch `until`.

    Later ones are there if a run resumed from before them; it will write them again.
    """
    found = {}
    for path in folder.glob("*.pt"):
        name = _NAME.fullmatch(path.stem)
        if name and (name["model"] or "model") == model and int(name["epoch"]) <= until:
            found[int(name["epoch"])] = path
    return found


def _score(path: Path) -> float:
    """Return how good the weights of a file are, -inf if unknown."""
    try:
        score = read_tensors(path, require_checksum=True).get("score")
    except (OSError, ValueError):  # a damaged file is no reason to end a training
        return -math.inf
    return score if isinstance(score, float) else -math.inf
