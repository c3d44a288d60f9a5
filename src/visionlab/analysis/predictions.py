"""Predictions of runs: the files `predictions/<epoch>_<model>.npz`, as far as they exist."""

import functools
import logging
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from visionlab.analysis.records import RunRecord

Array = np.ndarray[Any, Any]
_FILE = re.compile(r"(\d{4,})_(.+)\.npz")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Correctness:
    """Correctly classified samples of one model after each epoch."""

    epochs: Array  # with a file, increasing, (E,) int64
    keys: Array  # of the samples, increasing, (S,) int64
    correct: Array  # (E, S) bool
    labels: Array  # true classes, (S,) int64


def prediction_files(run: RunRecord, name: str) -> dict[int, Path]:
    """Return the prediction files of one model of a run by epoch, epochs increasing."""
    paths = (run.folder / "predictions").glob(f"*_{name}.npz")
    found = [(match, path) for path in paths if (match := _FILE.fullmatch(path.name))]
    return dict(sorted((int(match[1]), path) for match, path in found if match[2] == name))


def load_last_predictions(
    run: RunRecord, name: str, arrays: Sequence[str]
) -> Mapping[str, Array] | None:
    """Return some arrays of one model from the file of the last epoch that is readable.

    None if there is no such file, or if it lacks one of the arrays.
    """
    for path in reversed(prediction_files(run, name).values()):
        found = _read(path, path.stat().st_mtime_ns, tuple(arrays))
        if found is not None:
            return found if len(found) == len(arrays) else None
    return None


def load_correctness(
    run: RunRecord, name: str, epochs: tuple[int, int] | None
) -> Correctness | None:
    """Return the correctly classified samples of one model of a run, None if there are no files.

    Epochs without a file are left out; so are unreadable files, with a warning, and epochs that are
    not from the first to the last of `epochs`.

    Raises:
        ValueError: epochs have different samples.
    """
    first, last = epochs or (0, np.inf)
    arrays = ("keys", "correct", "label")
    found: dict[int, Mapping[str, Array]] = {}
    for epoch, path in prediction_files(run, name).items():
        if not first <= epoch <= last:
            continue
        content = _read(path, path.stat().st_mtime_ns, arrays)
        if content is not None and len(content) == len(arrays):
            order = np.argsort(content["keys"])
            found[epoch] = {key: array[order] for key, array in content.items()}
            if not np.array_equal(found[epoch]["keys"], found[min(found)]["keys"]):
                raise ValueError(f"predictions must have the same samples, got others in {path}")
    if not found:
        return None
    start = found[min(found)]
    return Correctness(
        epochs=np.array(list(found)),
        keys=start["keys"],
        correct=np.stack([content["correct"] for content in found.values()]),
        labels=start["label"].astype(np.int64),
    )


def at_common_epochs(one: Correctness, other: Correctness) -> tuple[Correctness, Correctness]:
    """Return two models of a run at the epochs that both have."""
    epochs = np.intersect1d(one.epochs, other.epochs)
    first, second = (
        replace(each, epochs=epochs, correct=each.correct[np.isin(each.epochs, epochs)])
        for each in (one, other)
    )
    return first, second


@functools.cache  # several figures read the same files
def _read(path: Path, changed: int, names: tuple[str, ...]) -> Mapping[str, Array] | None:
    """Return those of some arrays that a file has, or None if it is unreadable.

    `changed` is its modification time, by which the cache notices a new file.
    """
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return {name: arrays[name] for name in names if name in arrays}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        _warn(path, changed, " ".join(str(error).split()) or type(error).__name__)
        return None


@functools.cache
def _warn(path: Path, changed: int, reason: str) -> None:
    _log.warning("%s cannot be read and is left out: %s", path, reason)
