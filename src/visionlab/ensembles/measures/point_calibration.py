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
    Ints,
    check_within,
    finite_vectors,
)
from visionlab.ensembles.measures.calibration import equal_mass_bins


def member_variances(points: Array) -> Floats:
    """Return the variance of members, (...): sum_k |p_k - mean|^2 / (K - 1), over all coordinates.

    Args:
        points: of K >= 2 members, (K, ..., D); unknown ones, which are not finite, give nan.

    Raises:
        ValueError: there is one member.
    """
    if points.ndim < 2 or len(points) < 2:
        raise ValueError(f"points must be (members >= 2, ..., D), got shape {points.shape}")
    variances: Floats = points.astype(np.float64).var(axis=0, ddof=1).sum(axis=-1)
    return variances


@dataclass(frozen=True, kw_only=True)
class SpreadTable:
    """One row per non-empty bin of variances, by rising variance; all columns are (B,).

    Attributes:
        counts: landmarks in the bin.
        spread: RMV, root of their mean variance.
        error: RMSE, root of their mean squared error.
    """

    counts: Ints
    spread: Floats
    error: Floats


def spread_table(*, variances: Array, squared_errors: Array, num_bins: int) -> SpreadTable:
    """Compare the spread of members and the error in bins of equally many variances.

    Raises:
        ValueError: `num_bins` is below 1, or an array is empty, negative or of another length.
    """
    spreads, errors = _squares(variances, squared_errors)
    _, places, counts = np.unique(
        equal_mass_bins(spreads, num_bins=num_bins), return_inverse=True, return_counts=True
    )
    rmv, rmse = (np.sqrt(np.bincount(places, each) / counts) for each in (spreads, errors))
    return SpreadTable(counts=counts, spread=rmv, error=rmse)


def expected_normalised_calibration_error(table: SpreadTable) -> float:
    """Return ENCE: the mean over bins of |RMV - RMSE| / RMV (Levi et al. 2022, arXiv 1905.11659).

    nan if all variances of a bin are 0.
    """
    if not table.spread.all():
        return float("nan")
    return float((np.abs(table.spread - table.error) / table.spread).mean())


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
