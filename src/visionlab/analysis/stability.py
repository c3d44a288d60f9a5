"""Stability of predictions over epochs.

All functions take `correct`, (E, S) bool: whether each sample was classified correctly after each
epoch. Changes are counted between successive rows: with one validation every six epochs, over six
epochs. These are the measures of the study of averages in `conf/experiment/ema_table1.yaml`.
"""

import numpy as np

from visionlab.analysis.predictions import Array


def stability_of_epochs(correct: Array) -> Array:
    """Return the share of samples whose correctness is the same as an epoch before, (E - 1,)."""
    shares: Array = (correct[1:] == correct[:-1]).mean(axis=1)
    return shares


def stability_of_samples(correct: Array) -> Array:
    """Return the share of epochs in which correctness is the same as an epoch before, (S,)."""
    shares: Array = (correct[1:] == correct[:-1]).mean(axis=0)
    return shares


def misclassification(correct: Array) -> Array:
    """Return the share of epochs in which each sample is misclassified, (S,)."""
    shares: Array = (~correct).mean(axis=0)
    return shares


def mismatch(correct: Array, other: Array) -> Array:
    """Return the share of epochs in which exactly one of two models is right, (S,).

    Raises:
        ValueError: shapes differ.
    """
    if correct.shape != other.shape:
        raise ValueError(f"other must have shape {correct.shape}, got {other.shape}")
    shares: Array = (correct != other).mean(axis=0)
    return shares


def least_stable(correct: Array, other: Array | None, *, sort: str, count: int) -> Array:
    """Return the columns of the least stable samples, the worst first; of equals the first.

    Args:
        correct: of the raw model.
        other: of an average; only for `mismatch`.
        sort: stability for the lowest first; misclassification or mismatch for the highest first.
        count: maximum number of samples.

    Raises:
        ValueError: `sort` is `mismatch`, without an average.
    """
    if sort == "stability":
        quality = stability_of_samples(correct)
    elif sort == "misclassification":
        quality = -misclassification(correct)
    elif other is None:
        raise ValueError("sort must not be mismatch for runs without averages, got mismatch")
    else:
        quality = -mismatch(correct, other)
    columns: Array = np.argsort(quality, kind="stable")[:count]
    return columns


def moving_average(values: Array, window: int) -> Array:
    """Return the mean over a window centred on each value, (E,).

    The longer half of an even window lies before. Windows are shorter at both ends.
    """
    places = np.arange(len(values))
    first = np.maximum(places - window // 2, 0)
    end = np.minimum(places + (window - 1) // 2 + 1, len(values))
    return np.array([values[low:high].mean() for low, high in zip(first, end, strict=True)])
