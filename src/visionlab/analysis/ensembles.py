"""Ensembles of a run: the files that `eval.py ensemble=...` leaves in its folder.

These are `ensemble_<split>.json` and, in the folder `ensemble_<split>/`, tables of the overlap of
members and of single classes. A number may be null, which is NaN here.
"""

import functools
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from visionlab.analysis.json_objects import JsonObject, read_object
from visionlab.analysis.predictions import Array
from visionlab.files.documents import parse_csv, read_text

_FILE = re.compile(r"ensemble_(.+)\.json")
_METRICS = {  # of tables of classes
    "IOU_0-5_class_wise_APs.csv": "AP (IoU 0.50)",
    "class_wise_top1.csv": "top-1 accuracy",
}
_OF_MEMBERS, _COUNT = ("min", "0.25", "mean", "0.75", "max"), "nr_occur"
_Found = TypeVar("_Found")
_log = logging.getLogger(__name__)


class SizeCurve(NamedTuple):
    """A metric of ensembles of equal weights against their number of members.

    `subsets` has columns size, mean, 5 % and 95 % quantile, (S, 4); `last` and `spread` have size
    and value of the last members, and of every n-th one, (S, 2).
    """

    metric: str
    subsets: Array
    last: Array
    spread: Array


class Reliability(NamedTuple):
    """Calibration in bins of confidence, (B,) each; `low` and `high` bound the accuracy at 95 %."""

    counts: Array
    confidence: Array
    accuracy: Array
    low: Array
    high: Array


class Matrix(NamedTuple):
    """Comparison of pairs of models, (K, K): rows are predictions, columns the ground truth."""

    names: Sequence[str]
    values: Array


class ClassTable(NamedTuple):
    """A metric of each class: (C,) over members, and of the ensemble."""

    metric: str
    classes: Sequence[str]
    counts: Array
    members: Mapping[str, Array]  # min, 0.25, mean, 0.75, max
    ensemble: Array


@dataclass(frozen=True, kw_only=True)
class EnsembleRecord:
    """The content of `ensemble_<split>.json`, as far as figures show it.

    Attributes:
        path: of the file.
        members: names, in order.
        best_member: on validation samples; None if there are none.
        metrics: of each model and ensemble, by its name.
        by_size: None without labels.
        reliability: of models and ensembles that have a confidence, by name.
        pairs: comparisons of members, (K, K), by name.
    """

    path: Path
    members: Sequence[str]
    best_member: str | None
    metrics: Mapping[str, Mapping[str, float]]
    by_size: SizeCurve | None
    reliability: Mapping[str, Reliability]
    pairs: Mapping[str, Array]

    @property
    def split(self) -> str:
        """The split that was evaluated."""
        return self.path.stem.removeprefix("ensemble_")


def ensemble_files(folder: Path) -> list[Path]:
    """Return the files of ensembles in a run folder, one for each split, sorted."""
    return sorted(path for path in folder.glob("*.json") if _FILE.fullmatch(path.name))


def load_ensembles(folder: Path) -> list[EnsembleRecord]:
    """Return the ensembles of a run; damaged files are left out with a warning."""
    found = (_load(read_ensemble, path) for path in ensemble_files(folder))
    return [each for each in found if each is not None]


def load_overlap(ensemble: EnsembleRecord) -> Matrix | None:
    """Return the overlap of detectors, None without a file or, with a warning, if it is damaged."""
    return _load(read_overlap, ensemble.path.with_suffix("") / "overlap" / "overlap_matrix.csv")


def load_class_table(ensemble: EnsembleRecord) -> ClassTable | None:
    """Return the metric of each class, None without a file or, with a warning, if it is damaged."""
    folder = ensemble.path.with_suffix("") / "compare_metrics"
    paths = [folder / name for name in _METRICS]
    return next((_load(read_class_table, path) for path in paths if path.exists()), None)


def _load(read: Callable[[Path], _Found], path: Path) -> _Found | None:
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, OverflowError) as error:
        _warn(path, " ".join(str(error).split()))
        return None


@functools.cache  # several figures read the same files
def _warn(path: Path, reason: str) -> None:
    _log.warning("%s is left out: %s", path, reason)


def read_ensemble(path: Path) -> EnsembleRecord:
    """Read `ensemble_<split>.json`.

    Raises:
        ValueError: it has other content.
        OSError: it cannot be read.
    """
    whole = read_object(path)
    members = whole.texts("members")
    metrics, calibration = whole.object("metrics"), whole.object("calibration")
    return EnsembleRecord(
        path=path,
        members=members,
        best_member=None if whole.content.get("best_member") is None else whole.text("best_member"),
        metrics={name: metrics.object(name).numbers() for name in metrics.content},
        by_size=_size_curve(whole.object("by_size")),
        reliability={
            name: Reliability(*bins.columns(*Reliability._fields))
            for name in calibration.content
            if (bins := calibration.object(name).object("reliability")).content
        },
        pairs=whole.object("diversity").object("pairs").matrices(len(members)),
    )


def _size_curve(source: JsonObject) -> SizeCurve | None:
    if not source.content:
        return None
    return SizeCurve(
        metric=source.text("metric"),
        subsets=source.table("subsets", "size", "mean", "low", "high"),
        last=source.table("last", "size", "value"),
        spread=source.table("spread", "size", "value"),
    )


def read_overlap(path: Path) -> Matrix:
    """Read a square table with the same names above and beside; an empty cell is NaN.

    Raises:
        ValueError: it has other content.
        OSError: it cannot be read.
    """
    header, *rows = _read_table(path)
    names, beside = header[1:], [row[0] for row in rows]
    if names != beside:
        raise ValueError(
            f"{path} must have rows named as its columns {names!s:.60}, got {beside!s:.60}"
        )
    return Matrix(names, np.array([_numbers(row[1:], path) for row in rows]))


def read_class_table(path: Path) -> ClassTable:
    """Read a table with a row per class, whose last column is of the ensemble.

    Raises:
        ValueError: it has other content.
        OSError: it cannot be read.
    """
    header, *rows = _read_table(path)
    if header[0] != "class" or not {*_OF_MEMBERS, _COUNT} <= set(header[:-1]):
        rule = ", ".join(["class", *_OF_MEMBERS, _COUNT])
        raise ValueError(
            f"{path} must have columns {rule} and one of the ensemble, got {header!s:.200}"
        )
    values = np.array([_numbers(row[1:], path) for row in rows]).reshape(len(rows), -1)
    columns = dict(zip(header[1:], values.T, strict=True))
    return ClassTable(
        metric=_METRICS[path.name],
        classes=[row[0] for row in rows],
        counts=columns[_COUNT],
        members={name: columns[name] for name in _OF_MEMBERS},
        ensemble=columns[header[-1]],
    )


def _read_table(path: Path) -> list[list[str]]:
    """Return a header and rows of the same length."""
    header, *rows = parse_csv(read_text(path), origin=path) or [[]]
    lengths = [len(row) for row in rows]
    if not header or not rows or set(lengths) != {len(header)}:
        rule = f"rows of {len(header)} cells below a header"
        raise ValueError(f"{path} must have {rule}, got {lengths!s:.60}")
    return [header, *rows]


def _numbers(cells: Sequence[str], path: Path) -> list[float]:
    try:
        return [float(cell or "nan") for cell in cells]
    except ValueError as error:
        raise ValueError(f"{path} must have numbers as cells, got {cells!s:.60}") from error
