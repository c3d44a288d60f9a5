"""Calibration of landmarks: does the spread of an ensemble's members predict its error?

Variances and squared errors are those of visible landmarks, flat, in px^2 or in any other unit of
squared length.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from visionlab.ensembles.inputs import (
    Array,
    Floats,
    check_shape,
    check_within,
    finite,
    finite_vectors,
)
from visionlab.ensembles.measures.calibration import equal_mass_bins


def spread_and_error(*, points: Array, truth: Array) -> tuple[Floats, Floats]:
    """Return the variance of members and the squared error of their mean, each (...).

    The variance is sum_k |p_k - mean|^2 / (K - 1), summed over coordinates.

    Args:
        points: of K >= 2 members, (K, ..., D), in the unit and frame of the truth.
        truth: (..., D).

    Raises:
        ValueError: there is one member, a coordinate is not finite, or shapes differ.
    """
    members, target = finite("points", points), finite("truth", truth)
    if members.ndim < 2 or len(members) < 2:
        raise ValueError(f"points must be (members >= 2, ..., D), got shape {members.shape}")
    check_shape("truth", target, members.shape[1:])
    errors: Floats = ((members.mean(axis=0) - target) ** 2).sum(axis=-1)
    return members.var(axis=0, ddof=1).sum(axis=-1), errors


def expected_normalised_calibration_error(
    *, variances: Array, squared_errors: Array, num_bins: int
) -> float:
    """Return ENCE: the mean over bins of |RMV - RMSE| / RMV (Levi et al. 2022, arXiv 1905.11659).

    RMV and RMSE are the roots of a bin's mean variance and mean squared error; bins hold equally
    many variances, and empty ones do not count. nan if all variances of a bin are 0.

    Raises:
        ValueError: `num_bins` is below 1, or an array is empty, negative or of another length.
    """
    spreads, errors = _squares(variances, squared_errors)
    _, places, counts = np.unique(
        equal_mass_bins(spreads, num_bins=num_bins), return_inverse=True, return_counts=True
    )
    rmv, rmse = (np.sqrt(np.bincount(places, each) / counts) for each in (spreads, errors))
    return float((np.abs(rmv - rmse) / rmv).mean()) if rmv.all() else float("nan")


def variance_scale(*, variances: Array, squared_errors: Array) -> float:
    """Return s^2, the mean of squared error / variance: the factor that calibrates variances.

    It is the maximum-likelihood factor of a Gaussian. Fit it on validation samples. Above 1,
    members agree more than they should. nan if a variance is 0.

    Raises:
        ValueError: an array is empty, negative, not finite or of another length.
    """
    spreads, errors = _squares(variances, squared_errors)
    return float((errors / spreads).mean()) if spreads.all() else float("nan")


def rank_correlation(*, variances: Array, squared_errors: Array) -> float:
    """Return Spearman's correlation of variance and error; nan if either is constant.

    Raises:
        ValueError: an array is empty, negative, not finite or of another length.
    """
    ranks = [rankdata(each) for each in _squares(variances, squared_errors)]
    if not all(np.ptp(each) for each in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


@dataclass(frozen=True, kw_only=True)
class Sparsification:
    """Mean error of what remains when the least certain share is removed; all are (N,).

    Attributes:
        removed: removed share, 0 to 1 - 1/N.
        by_variance: mean error without the largest variances.
        oracle: mean error without the largest errors.
    """

    removed: Floats
    by_variance: Floats
    oracle: Floats

    @property
    def area(self) -> float:
        """AUSE, the area between both curves; 0 if variances rank as errors do."""
        return float((self.by_variance - self.oracle).mean())


def sparsification(*, variances: Array, errors: Array) -> Sparsification:
    """Return the sparsification curves (Ilg et al. 2018, arXiv 1802.07095).

    Errors are divided by their mean, so that both curves start at 1 (all 0 if all errors are 0).
    Equal variances are removed in random order, of which the curve is the expectation.

    Args:
        variances: (N,).
        errors: lengths, not their squares, (N,).

    Raises:
        ValueError: an array is empty, negative, not finite or of another length.
    """
    spreads, found = finite_vectors(variances=variances, errors=errors)
    check_within("[0, inf)", variances=spreads, errors=found)
    relative = found / found.mean() if found.any() else found
    _, places, counts = np.unique(spreads, return_inverse=True, return_counts=True)
    expected = (np.bincount(places, relative) / counts)[places]
    return Sparsification(
        removed=np.arange(len(found)) / len(found),
        by_variance=_running_mean(expected[np.argsort(spreads)])[::-1],
        oracle=_running_mean(np.sort(relative))[::-1],
    )


def _running_mean(values: Floats) -> Floats:
    return np.cumsum(values) / np.arange(1, len(values) + 1)


def _squares(variances: Array, squared_errors: Array) -> list[Floats]:
    found = finite_vectors(variances=variances, squared_errors=squared_errors)
    check_within("[0, inf)", variances=found[0], squared_errors=found[1])
    return found
