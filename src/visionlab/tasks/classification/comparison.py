"""Tables that compare the classifiers of an ensemble."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from visionlab.files.model_tables import Rows, write_overlap, write_spread, write_values
from visionlab.task import Split

_ENSEMBLE = "ensemble"


def compare_labels(
    folder: Path,
    members: Mapping[str, Mapping[str, Tensor]],
    ensemble: Mapping[str, Tensor],
    split: Split,
    *,
    class_names: Sequence[str],
) -> None:
    """Write tables of the share of each class that models classify correctly (top-1).

    - `overview_metrics.csv`: that share of each class and model, and its mean over classes.
    - `compare_metrics/class_wise_top1.csv`: how it spreads over the members.
    - `overlap/overlap_matrix.csv`: share of samples for which two models predict the same class.

    A class without samples has empty cells.

    Args:
        folder: the folder of the files.
        members: what `Accuracy.samples` returns, by member.
        ensemble: likewise; samples are in the same order in all of them.
        split: not needed.
        class_names: in the order of the labels.
    """
    labels = ensemble["label"].numpy()
    counts = np.bincount(labels, minlength=len(class_names))
    means = {"overall_mean": range(len(class_names))}
    rows = Rows(kind="class", names=class_names, counts=counts, means=means)
    shares = {
        name: _class_shares(samples["correct"].numpy(), labels, counts)
        for name, samples in {**members, _ENSEMBLE: ensemble}.items()
    }
    predicted = np.stack([samples["predicted"].numpy() for samples in members.values()])
    agreement = np.stack([(predicted == each).mean(axis=1) for each in predicted])
    write_overlap(folder / "overlap" / "overlap_matrix.csv", agreement, names=list(members))
    write_values(folder / "overview_metrics.csv", shares, rows)
    of_ensemble = {_ENSEMBLE: shares.pop(_ENSEMBLE)}
    path = folder / "compare_metrics" / "class_wise_top1.csv"
    write_spread(path, list(shares.values()), of_ensemble, rows, decimals=None)


def _class_shares(
    correct: NDArray[np.bool_], labels: NDArray[Any], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the share of the samples of each class that are correct, NaN without any."""
    num_correct = np.bincount(labels[correct], minlength=len(counts))
    return np.where(counts > 0, num_correct / np.maximum(counts, 1), np.nan)
