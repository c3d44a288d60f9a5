"""Predictions of one model for a split, saved so that a combination of them needs no model."""

import functools
import hashlib
import json
from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionlab.files.tensors import map_tensors, write_tensors
from visionlab.images.views import View

_VALUES = "values"  # the one column of predictions that are tensors


@dataclass(frozen=True, kw_only=True)
class SavedPredictions:
    """Predictions of a split, in its order.

    Attributes:
        keys: (N,) int64, ids of the samples; of samples with equal keys one counts.
        columns: the fields of the predictions by name, each of all samples together.
        counts: (N,) int64, rows of the columns that belong to each sample; None if the predictions
            of a batch are one tensor, with a row per sample.
        seconds: duration of the forward passes, decoding included.
    """

    keys: Tensor
    columns: Mapping[str, Tensor]
    counts: Tensor | None
    seconds: float

    def of(self, keys: Tensor) -> Any:
        """Return the predictions of samples by their keys (B,), on the same device.

        They are as the task made them, but that named tuples are of a class of their own.
        """
        rows = self._order[torch.searchsorted(self._sorted_keys, keys.cpu())]
        if self.counts is None:
            return self.columns[_VALUES][rows].to(keys.device)
        record: Any = namedtuple("Prediction", self.columns)  # type: ignore[misc]
        return [
            record(*(column[start:end].to(keys.device) for column in self.columns.values()))
            for start, end in self._bounds[rows].tolist()
        ]

    @functools.cached_property
    def _order(self) -> Tensor:
        return self.keys.argsort(stable=True)

    @functools.cached_property
    def _sorted_keys(self) -> Tensor:
        return self.keys[self._order]

    @functools.cached_property
    def _bounds(self) -> Tensor:
        """First row of each sample in the columns and that after its last, (N, 2)."""
        assert self.counts is not None
        ends = self.counts.cumsum(0)
        return torch.stack([ends - self.counts, ends], dim=1)


def prediction_digest(
    weights: Mapping[str, Tensor], view: View | None, cache_key: Mapping[str, Any]
) -> str:
    """Hash everything that predictions depend on: weights, the view but for its weight, the rest.

    A view that changes nothing is as good as none.
    """
    settings = None if view is None or view.is_plain else asdict(view) | {"weight": None}
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([settings, cache_key], sort_keys=True, default=list).encode())
    for name, value in weights.items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def join_predictions(parts: Sequence[Any], *, keys: Tensor, seconds: float) -> SavedPredictions:
    """Return the predictions of several batches together; keys are those of all their samples.

    Raises:
        ValueError: they are neither tensors nor lists of named tuples of tensors.
    """
    if isinstance(parts[0], Tensor):
        columns, counts = {_VALUES: torch.cat(list(parts)).cpu()}, None
    else:
        records = [record for part in parts for record in part]
        if not all(hasattr(record, "_fields") for record in records):
            got = type(records[0]).__name__
            raise ValueError(f"predictions must be tensors or named tuples of tensors, got {got}")
        columns = {
            field: torch.cat([getattr(record, field) for record in records]).cpu()
            for field in records[0]._fields
        }
        counts = torch.tensor([len(record[0]) for record in records])
    return SavedPredictions(keys=keys.cpu(), columns=columns, counts=counts, seconds=seconds)


def save_predictions(
    path: Path, parts: Sequence[Any], *, keys: Tensor, digest: str, seconds: float
) -> None:
    """Save the predictions of all batches of a split.

    Raises:
        ValueError: they are neither tensors nor lists of named tuples of tensors.
        OSError: the file cannot be written; an old one is untouched.
    """
    joined = join_predictions(parts, keys=keys, seconds=seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {field.name: getattr(joined, field.name) for field in fields(joined)}
    write_tensors(path, {"digest": digest, **content})


def read_predictions(path: Path, *, digest: str) -> SavedPredictions | None:
    """Return saved predictions; None if they are missing, damaged, or have another digest."""
    try:
        content = map_tensors(path)
        if content.pop("digest", None) != digest:
            return None
        return SavedPredictions(**content)
    except (OSError, ValueError, TypeError):  # TypeError: other entries
        return None
