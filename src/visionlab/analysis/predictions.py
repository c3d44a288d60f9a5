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
_MAX_BYTES = 1 << 33
_FORMS: Sequence[Mapping[str, tuple[str, int]]] = (  # kinds of types, axes; rows are shared
    {
        **{"keys": ("iu", 1), "label": ("iu", 1), "predicted": ("iu", 1), "correct": ("b", 1)},
        **{"num_objects": ("iu", 2), "errors_px": ("f", 2), "normaliser_px": ("f", 1)},
    },
    {"scores": ("f", 1), "labels": ("iu", 1), "outcomes": ("iub", 1)},
)
_DAMAGED = (  # a damaged file may raise any of them
    *(OSError, ValueError, EOFError, KeyError, TypeError, MemoryError, OverflowError),
    *(RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error),
)
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
        found = _read(path, path.stat().st_mtime_ns, arrays, len(run.labels))
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
    files = prediction_files(run, name)
    paths = tuple((epoch, path) for epoch, path in files.items() if first <= epoch <= last)
    changed = tuple(path.stat().st_mtime_ns for _, path in paths)
    return _read_correctness(paths, changed, len(run.labels))


@functools.cache  # several figures read the same files
def _read_correctness(
    paths: tuple[tuple[int, Path], ...], changed: tuple[int, ...], num_classes: int
) -> Correctness | None:
    """Return what files, with their epochs, say; `changed` are their modification times."""
    arrays = ("keys", "correct", "label")
    correct: dict[int, Array] = {}
    keys = labels = np.zeros(0, np.int64)
    for (epoch, path), time in zip(paths, changed, strict=True):
        content = _read(path, time, arrays, num_classes)
        if content is None or len(content) < len(arrays):
            continue
        order = np.argsort(content["keys"])
        if not correct:
            keys, labels = content["keys"][order], content["label"][order].astype(np.int64)
        elif not np.array_equal(content["keys"][order], keys):
            raise ValueError(f"predictions must have the same samples, got others in {path}")
        correct[epoch] = content["correct"][order]
    if not correct:
        return None
    return Correctness(
        epochs=np.array(list(correct)),
        keys=keys,
        correct=np.stack(list(correct.values())),
        labels=labels,
    )


def at_common_epochs(one: Correctness, other: Correctness) -> tuple[Correctness, Correctness]:
    """Return two models of a run at the epochs that both have."""
    epochs = np.intersect1d(one.epochs, other.epochs)
    first, second = (
        replace(each, epochs=epochs, correct=each.correct[np.isin(each.epochs, epochs)])
        for each in (one, other)
    )
    return first, second


def _read(
    path: Path, changed: int, names: Sequence[str], num_classes: int
) -> Mapping[str, Array] | None:
    """Return those of some arrays that a file has, or None if it is unreadable.

    `changed` is its modification time: the same file is warned of once.
    """
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise ValueError("it must hold arrays by name, got one array")
            _check_sizes(arrays)
            found = {name: arrays[name] for name in names if name in arrays}
        _check_form(found, num_classes)
        return found
    except _DAMAGED as error:
        _warn(path, changed, " ".join(str(error).split()) or type(error).__name__)
        return None


def _check_sizes(arrays: np.lib.npyio.NpzFile) -> None:
    """Refuse a file that would fill the memory: it may claim any size."""
    claimed = sum(member.file_size for member in arrays.zip.infolist()) if arrays.zip else 0
    if claimed > _MAX_BYTES:
        raise ValueError(f"it claims {claimed:,} bytes, more than {_MAX_BYTES:,}")


def _check_form(arrays: Mapping[str, Array], num_classes: int) -> None:
    """Refuse arrays of a metric of visionlab with other types, shapes or classes."""
    for group in _FORMS:
        present = {name: array for name, array in arrays.items() if name in group}
        for name, array in present.items():
            kinds, num_axes = group[name]
            if array.dtype.kind not in kinds or array.ndim != num_axes:
                raise ValueError(f"{name} must not be {array.dtype} with {array.ndim} axes")
        if len({len(array) for array in present.values()}) > 1:
            raise ValueError(f"{', '.join(present)} must have as many rows as each other")
    for name in ("label", "predicted"):
        labels = arrays.get(name, np.zeros(0))
        if num_classes and labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(f"{name} must be in [0, {num_classes}), got {labels.max()}")
    if arrays.get("num_objects", np.zeros((0, num_classes))).shape[1] < num_classes:
        raise ValueError(f"num_objects must have a column for each of {num_classes} classes")


@functools.cache
def _warn(path: Path, changed: int, reason: str) -> None:
    _log.warning("%s cannot be read and is left out: %s", path, reason)
