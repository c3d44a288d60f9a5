"""Checked arrays: a ValueError names the array, the rule and the value in one line."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionlab.core.checks import is_in

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_SUM_TOLERANCE = 1e-3  # a softmax in half precision


def finite(name: str, values: Array) -> Floats:
    """Return values as float64, none of them NaN or infinite.

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    found: Floats = np.asarray(values, dtype=np.float64)
    if found.size == 0:
        raise ValueError(f"{name} must have at least one value, got none")
    if not (is_finite := np.isfinite(found)).all():
        raise ValueError(f"{name} must be finite, got {found[~is_finite][0]}")
    return found


def finite_vectors(**arrays: Array) -> list[Floats]:
    """Return vectors of one length as float64, none of their values NaN or infinite.

    Raises:
        ValueError: an array is empty, has another shape, or a value that is not finite.
    """
    found = [finite(name, values) for name, values in arrays.items()]
    length = len(found[0]) if found[0].ndim else 1
    for name, values in zip(arrays, found, strict=True):
        check_shape(name, values, (length,))
    return found


def check_shape(name: str, values: Array, shape: tuple[int, ...]) -> None:
    """Refuse an array of another shape."""
    if values.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {values.shape}")


def check_within(interval: str, **arrays: Array) -> None:
    """Refuse arrays with values outside an interval such as "[0, 1]"."""
    for name, values in arrays.items():
        for extreme in (values.min(), values.max()) if values.size else ():
            if not is_in(interval, extreme):
                raise ValueError(f"{name} must be in {interval}, got {extreme:g}")


def check_count(name: str, value: int, *, least: int) -> None:
    """Refuse a number below the least."""
    if not value >= least:
        raise ValueError(f"{name} must be >= {least}, got {value}")


def class_labels(labels: Array, shape: tuple[int, ...], *, num_classes: int) -> Ints:
    """Return labels as int64.

    Raises:
        ValueError: the shape is another, or a label is not a whole number in [0, num_classes).
    """
    found = np.asarray(labels)
    check_shape("labels", found, shape)
    if found.size and not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"labels must be whole numbers, got {found.dtype}")
    check_within(f"[0, {num_classes})", labels=found)
    return found.astype(np.int64)


def class_scores(
    name: str, scores: Array, labels: Array, *, axes: tuple[str, ...]
) -> tuple[Floats, Ints]:
    """Return finite scores (..., N, C) of at least two classes, and the labels of samples (N,).

    Args:
        name: of the scores, for errors.
        scores: one dimension per axis.
        labels: (N,) in [0, C).
        axes: names of the axes; the last two are samples and classes.

    Raises:
        ValueError: a shape, score or label is wrong.
    """
    found = finite(name, scores)
    if found.ndim != len(axes) or found.shape[-1] < 2:
        raise ValueError(f"{name} must be ({', '.join(axes)} >= 2), got shape {found.shape}")
    num_samples, num_classes = found.shape[-2:]
    return found, class_labels(labels, (num_samples,), num_classes=num_classes)


def class_probabilities(probabilities: Array, labels: Array) -> tuple[Floats, Ints]:
    """Return probabilities (N, C) of at least two classes, and the labels of samples (N,).

    Raises:
        ValueError: a shape or label is wrong, a probability is negative, or a sum is not 1.
    """
    found, classes = class_scores(
        "probabilities", probabilities, labels, axes=("samples", "classes")
    )
    check_within("[0, inf)", probabilities=found)
    sums = found.sum(axis=-1)
    if not (is_one := np.abs(sums - 1.0) <= _SUM_TOLERANCE).all():
        raise ValueError(f"probabilities must sum to 1, got {sums[~is_one][0]:g}")
    return found, classes


def of_labels(values: Floats, labels: Ints) -> Floats:
    """Return the values (..., N) that belong to the labels (N,), from values (..., N, C)."""
    return np.take_along_axis(values, labels.reshape(*[1] * (values.ndim - 2), -1, 1), -1)[..., 0]
