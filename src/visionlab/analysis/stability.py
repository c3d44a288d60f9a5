"""How steadily samples are classified: from tables of which sample was right after which epoch.

All functions take `correct`, (E, S) bool: samples in columns, epochs in rows. The epoch before is
that of the row before: with one validation in six epochs, six epochs earlier. The measures are
those of the study of averages in `conf/experiment/ema_table1.yaml`.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def stability_of_epochs(correct: Array) -> Array:
    """Return the share of samples that are as right or wrong as the epoch before, (E - 1,)."""
    shares: Array = (correct[1:] == correct[:-1]).mean(axis=1)
    return shares


def stability_of_samples(correct: Array) -> Array:
    """Return the share of epochs after which a sample is as the epoch before, (S,).

    Raises:
        ValueError: there is no epoch before another.
    """
    if len(correct) < 2:
        raise ValueError(f"correct must have >= 2 epochs, got {len(correct)}")
    shares: Array = (correct[1:] == correct[:-1]).mean(axis=0)
    return shares


def misclassification(correct: Array) -> Array:
    """Return the share of epochs after which a sample is wrong, (S,).

    Raises:
        ValueError: there is no epoch.
    """
    if len(correct) < 1:
        raise ValueError(f"correct must have >= 1 epoch, got {len(correct)}")
    shares: Array = (~correct).mean(axis=0)
    return shares


def mismatch(correct: Array, other: Array) -> Array:
    """Return the share of epochs after which one of two models is right on a sample alone, (S,).

    Raises:
        ValueError: the two are not of the same epochs and samples, or there is no epoch.
    """
    if correct.shape != other.shape:
        raise ValueError(f"other must have shape {correct.shape}, got {other.shape}")
    if len(correct) < 1:
        raise ValueError(f"correct must have >= 1 epoch, got {len(correct)}")
    shares: Array = (correct != other).mean(axis=0)
    return shares


def least_stable(correct: Array, other: Array | None, *, sort: str, count: int) -> Array:
    """Return the columns of the samples that are hardest to hold, the worst first.

    Of equals the first comes first.

    Args:
        correct: of the model in training.
        other: of an average; only for `mismatch`.
        sort: stability, the lowest first; misclassification or mismatch, the highest first.
        count: how many at most.

    Raises:
        ValueError: `sort` is none of these, or there is no average to compare with.
    """
    if sort == "stability":
        steadiness = stability_of_samples(correct)
    elif sort == "misclassification":
        steadiness = -misclassification(correct)
    elif sort != "mismatch":
        raise ValueError(f"sort must be one of stability, misclassification, mismatch, got {sort}")
    elif other is None:
        raise ValueError("sort must not be mismatch for runs without averages, got mismatch")
    else:
        steadiness = -mismatch(correct, other)
    columns: Array = np.argsort(steadiness, kind="stable")[:count]
    return columns


def moving_average(values: Array, window: int) -> Array:
    """Return the mean over a window around each value, of the same length, (E,).

    The window is centred, so that what happens at an epoch stays there; of an even one the longer
    half lies before. At both ends it holds what there is.

    Raises:
        ValueError: the window is empty.
    """
    if window < 1:
        raise ValueError(f"window must be >= 1, got {window}")
    places = np.arange(len(values))
    first = np.maximum(places - window // 2, 0)
    end = np.minimum(places + (window - 1) // 2 + 1, len(values))
    return np.array([values[low:high].mean() for low, high in zip(first, end, strict=True)])
