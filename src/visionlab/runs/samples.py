"""Count and fingerprint of a run's samples, compared when it resumes and to tell data apart."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from visionlab.task import Data

_PARTS = ("train", "val", "test")
Samples = Mapping[str, list[int | str]]


def describe_samples(data: Data) -> Samples:
    """Return count and fingerprint of the samples of each part, for `run.json` and checkpoints.

    The fingerprint is a hash of their keys and labels, in order; of data of one's own that names
    none, only of how many samples each class has.
    """
    return {
        part: [
            len(data.splits[part]),
            _fingerprint(
                getattr(data.splits[part], "samples", None), list(data.class_counts.get(part, []))
            ),
        ]
        for part in _PARTS
        if part in data.splits
    }


def check_samples(found: Samples, trained: Samples) -> None:
    """Refuse to resume with other samples than a run has.

    Raises:
        ValueError: the message names the part, both counts and both fingerprints.
    """
    for part in [part for part in _PARTS if part in {**found, **trained}]:
        if list(found.get(part, [0, "none"])) != list(trained.get(part, [0, "none"])):
            ours, theirs = (
                "{:,} ({})".format(*each.get(part, [0, "none"])) for each in (trained, found)
            )
            raise ValueError(
                f"dataset must have the run's samples, for {part} {ours}, got {theirs}: samples "
                "were added, removed, renamed or moved; restore them, or start a new run"
            )


def _fingerprint(samples: Any, counts: list[int]) -> str:
    digest = hashlib.sha256(repr(counts).encode())
    for name in ("key", "label"):
        for column in _columns(samples, name):
            digest.update(
                column.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
            )
    return digest.hexdigest()[:8]


def _columns(samples: Any, name: str) -> list[Tensor]:
    """Return the keys or labels of samples, (N,), or all labels and how many each sample has.

    Empty if `samples` has none, or in a form of its own.
    """
    if isinstance(samples, Tensor):  # rows of images in memory
        return [samples]
    if isinstance(column := getattr(samples, f"{name}s", None), Tensor):
        return [column]
    if not isinstance(samples, list | tuple):
        return []
    found = [getattr(each, name, getattr(each, f"{name}s", None)) for each in samples]
    if not found or not all(isinstance(each, int | Tensor) for each in found):
        return []
    tensors = [torch.as_tensor(each).flatten() for each in found]
    return [torch.cat(tensors), torch.tensor([len(each) for each in tensors])]
