"""Ensembles: the files that `eval.py ensemble=...` leaves, in a run's folder or one of their own.

These are `ensemble_<split>.json` and, in the folder `ensemble_<split>/`, tables of the overlap of
members and of single classes. A number may be null, which is NaN here.
"""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from visionlab.analysis.ensemble_tables import (
    METRICS,
    ClassTable,
    Matrix,
    read_class_table,
    read_overlap,
)
from visionlab.analysis.json_objects import JsonObject, read_object
from visionlab.analysis.predictions import Array
from visionlab.files.run_folder import ensemble_files

Samples = tuple[int, str]
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


class Spread(NamedTuple):
    """Error of landmarks against spread of members, in bins of spread, (B,) each, in pixels."""

    counts: Array
    spread: Array
    error: Array


@dataclass(frozen=True, kw_only=True)
class EnsembleRecord:
    """The content of `ensemble_<split>.json`, as far as figures show it.

    Attributes:
        path: of the file.
        task: its name; None if it was not recorded.
        samples: count and fingerprint of the samples of the split, as in `run.json`; None if they
            were not recorded.
        members: names, in order.
        best_member: on validation samples; None if there are none.
        metrics: of each model and ensemble, by its name.
        by_size: None without labels.
        reliability: of models and ensembles that have a confidence, by name.
        spread: of ensembles of landmarks, by name.
        pairs: comparisons of members, (K, K), by name.
    """

    path: Path
    task: str | None
    samples: Samples | None
    members: Sequence[str]
    best_member: str | None
    metrics: Mapping[str, Mapping[str, float]]
    by_size: SizeCurve | None
    reliability: Mapping[str, Reliability]
    spread: Mapping[str, Spread]
    pairs: Mapping[str, Array]

    @property
    def split(self) -> str:
        """The split that was evaluated."""
        return self.path.stem.removeprefix("ensemble_")


def load_ensembles(folder: Path) -> list[EnsembleRecord]:
    """Return the ensembles of a folder; damaged files are left out with a warning."""
    found = (_load(read_ensemble, path) for path in ensemble_files(folder))
    return [each for each in found if each is not None]


def load_overlap(ensemble: EnsembleRecord) -> Matrix | None:
    """Return the overlap of members, None without a file or, with a warning, if it is damaged."""
    return _load(read_overlap, ensemble.path.with_suffix("") / "overlap" / "overlap_matrix.csv")


def load_class_table(ensemble: EnsembleRecord) -> ClassTable | None:
    """Return the metric of each class, None without a file or, with a warning, if it is damaged."""
    folder = ensemble.path.with_suffix("") / "compare_metrics"
    paths = [folder / name for name in METRICS]
    return next((_load(read_class_table, path) for path in paths if path.exists()), None)


def _load(read: Callable[[Path], _Found], path: Path) -> _Found | None:
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _warn(" ".join(str(error).split()))
        return None


@functools.cache  # several figures read the same files
def _warn(reason: str) -> None:
    _log.warning("%s; it is left out", reason)


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
        task=whole.optional_text("task"),
        samples=_samples(whole),
        members=members,
        best_member=whole.optional_text("best_member"),
        metrics={name: metrics.object(name).numbers() for name in metrics.content},
        by_size=_size_curve(whole.object("by_size")),
        reliability={
            name: Reliability(*bins.columns(*Reliability._fields))
            for name, bins in _tables(calibration, "reliability").items()
        },
        spread={
            name: Spread(*bins.columns(*Spread._fields))
            for name, bins in _tables(calibration, "error_against_spread").items()
        },
        pairs=whole.object("diversity").object("pairs").matrices(len(members)),
    )


def _samples(whole: JsonObject) -> Samples | None:
    if whole.content.get("samples") is None:
        return None
    count, fingerprint = whole.take("samples", "a count and a fingerprint", _are_samples)
    return count, fingerprint


def _are_samples(value: Any) -> bool:
    return isinstance(value, list) and [type(each) for each in value] == [int, str]


def _tables(calibration: JsonObject, key: str) -> dict[str, JsonObject]:
    """Return the tables of one kind of those models and ensembles that have one."""
    found = {name: calibration.object(name).object(key) for name in calibration.content}
    return {name: table for name, table in found.items() if table.content}


def _size_curve(source: JsonObject) -> SizeCurve | None:
    if not source.content:
        return None
    return SizeCurve(
        metric=source.text("metric"),
        subsets=source.table("subsets", "size", "mean", "low", "high"),
        last=source.table("last", "size", "value"),
        spread=source.table("spread", "size", "value"),
    )
