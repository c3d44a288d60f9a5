"""Weights of single epochs: when they are saved, under which names, and which of them stay."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from visionlab.core.checks import check_positive
from visionlab.files.tensors import read_tensors

_NAME = re.compile(r"(?:(?P<model>.+)_)?epoch_(?P<epoch>\d{4,})")
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
    """

    training_invariant: ClassVar[Sequence[str]] = ("every_minutes", "every_epochs", "keep")
    every_minutes: float | None
    every_epochs: int | None
    keep: str

    def __post_init__(self) -> None:
        if self.every_minutes is not None and not self.every_minutes >= 0:
            raise ValueError(f"every_minutes must be >= 0 or null, got {self.every_minutes}")
        if self.every_epochs is not None:
            check_positive(self, "every_epochs")
        if not _KEEP.fullmatch(self.keep):
            raise ValueError(f"keep must be all, last:N or best:N with N >= 1, got {self.keep!r}")

    def is_due(self, epoch: int) -> bool:
        """Return whether weights are saved after this epoch."""
        return self.every_epochs is not None and epoch % self.every_epochs == 0

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


def is_epoch_name(stem: str) -> bool:
    """Return whether a file stem is that of the weights of a single epoch."""
    return _NAME.fullmatch(stem) is not None


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
