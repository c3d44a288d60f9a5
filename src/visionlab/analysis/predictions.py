"""What runs predicted: the files `predictions/<epoch>_<model>.npz`, as far as they are there."""

import functools
import logging
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visionlab.analysis.records import Record

Array = np.ndarray[Any, Any]
_FILE = re.compile(r"(\d{4,})_(.+)\.npz")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Correctness:
    """Which samples a model classified correctly after which epochs.

    Attributes:
        epochs: rising, (E,) int64; those without a file are not there.
        keys: of the samples, rising, (S,) int64.
        correct: (E, S) bool.
        labels: of the samples, (S,) int64.
    """

    epochs: Array
    keys: Array
    correct: Array
    labels: Array


def files_of(run: Record, name: str) -> dict[int, Path]:
    """Return the files of one model of a run by epoch, epochs rising."""
    found = {}
    for path in sorted((run.folder / "predictions").glob("*.npz")):
        match = _FILE.fullmatch(path.name)
        if match and match[2] == name:
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def last_arrays(run: Record, name: str, names: Sequence[str]) -> Mapping[str, Array] | None:
    """Return some arrays of one model after the last epoch whose file can be read.

    None if there is no such file, or if it lacks one of the arrays.

    Args:
        run: that predicted.
        name: of the model.
        names: of the arrays.
    """
    for path in reversed(files_of(run, name).values()):
        arrays = _arrays(path, path.stat().st_mtime_ns, tuple(names))
        if arrays is not None:
            return arrays if len(arrays) == len(names) else None
    return None


def correctness(run: Record, name: str, epochs: tuple[int, int] | None) -> Correctness | None:
    """Return which samples one model of a run classified correctly, or None if nothing says it.

    Epochs without a file are left out, as are files that cannot be read: those are told.

    Args:
        run: that predicted.
        name: of the model.
        epochs: the first and the last that count, or None for all.

    Raises:
        ValueError: the samples are not the same after all epochs.
    """
    first, last = epochs or (0, np.inf)
    found: dict[int, Mapping[str, Array]] = {}
    for epoch, path in files_of(run, name).items():
        if first <= epoch <= last:
            names = ("keys", "correct", "label")
            arrays = _arrays(path, path.stat().st_mtime_ns, names)
            if arrays is not None and len(arrays) == len(names):
                found[epoch] = arrays
    if not found:
        return None
    orders = {epoch: np.argsort(arrays["keys"]) for epoch, arrays in found.items()}
    keys = [arrays["keys"][orders[epoch]] for epoch, arrays in found.items()]
    for epoch, others in zip(found, keys, strict=True):
        if not np.array_equal(others, keys[0]):
            path = files_of(run, name)[epoch]
            raise ValueError(
                f"predictions must be of the run's first samples, got others in {path}"
            )
    earliest = min(found)
    return Correctness(
        epochs=np.array(list(found)),
        keys=keys[0],
        correct=np.stack([arrays["correct"][orders[epoch]] for epoch, arrays in found.items()]),
        labels=found[earliest]["label"][orders[earliest]].astype(np.int64),
    )


def common(one: Correctness, other: Correctness) -> tuple[Correctness, Correctness]:
    """Return two models of a run at the epochs that both have."""
    epochs = np.intersect1d(one.epochs, other.epochs)
    return _at(one, epochs), _at(other, epochs)


def _at(model: Correctness, epochs: Array) -> Correctness:
    rows = np.isin(model.epochs, epochs)
    return Correctness(
        epochs=epochs, keys=model.keys, correct=model.correct[rows], labels=model.labels
    )


@functools.cache  # several figures show the same files
def _arrays(path: Path, changed: int, names: tuple[str, ...]) -> Mapping[str, Array] | None:
    """Return those of some arrays that a file has, or None if it cannot be read.

    Args:
        path: of the file.
        changed: when, so that what is read is what is there.
        names: of the arrays.
    """
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return {name: arrays[name] for name in names if name in arrays}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        _tell(path, changed, " ".join(str(error).split()) or type(error).__name__)
        return None


@functools.cache
def _tell(path: Path, changed: int, reason: str) -> None:
    """Say once that a file cannot be read."""
    _log.warning("%s cannot be read, and is left out: %s", path, reason)
