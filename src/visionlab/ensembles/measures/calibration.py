"""Calibration of confidences: bins, the reliability table, and calibration errors.

An error takes the bin of each sample, so that each kind of bins serves each error. Empty bins
never enter one.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from visionlab.ensembles.inputs import (
    Array,
    Floats,
    Ints,
    check_count,
    check_within,
    class_probabilities,
    finite_vectors,
)

_EDGE_DECIMALS = 9  # 0.6 * 5 is on the edge of the third bin, whatever its last bits


def equal_width_bins(values: Array, *, num_bins: int) -> Ints:
    """Return the bin of each value, (N,) in [0, num_bins), for bins of equal width on [0, 1].

    Bins are closed on the right, the first one also on the left.

    Raises:
        ValueError: `num_bins` is below 1, there are no values, or one is outside [0, 1].
    """
    check_count("num_bins", num_bins, least=1)
    (found,) = finite_vectors(values=values)
    check_within("[0, 1]", values=found)
    edges = np.ceil(np.round(found * num_bins, _EDGE_DECIMALS)).astype(np.int64)
    return np.clip(edges, 1, num_bins) - 1


def equal_mass_bins(values: Array, *, num_bins: int) -> Ints:
    """Return the bin of each value, (N,) in [0, num_bins), for bins of equally many samples.

    Equal values share the bin of their mean rank, so that the order of samples does not matter;
    bins then differ in size, or are empty.

    Raises:
        ValueError: `num_bins` is below 1, there are no values, or one is not finite.
    """
    check_count("num_bins", num_bins, least=1)
    (found,) = finite_vectors(values=values)
    doubled_ranks = (2 * rankdata(found)).astype(np.int64)  # whole numbers: ties end in 1/2
    bins: Ints = (doubled_ranks - 1) * num_bins // (2 * len(found))
    return bins


@dataclass(frozen=True, kw_only=True)
class ReliabilityTable:
    """One row per non-empty bin, in the order of bins; all columns are (B,).

    Attributes:
        bins: number of the bin.
        counts: samples in the bin.
        confidence: mean confidence.
        accuracy: share of samples that are right.
        low: lower end of the accuracy's 95 % Wilson interval.
        high: upper end of it.
    """

    bins: Ints
    counts: Ints
    confidence: Floats
    accuracy: Floats
    low: Floats
    high: Floats


def reliability_table(*, confidence: Array, correct: Array, bins: Array) -> ReliabilityTable:
    """Compare confidence and accuracy in each bin.

    Args:
        confidence: in [0, 1], (N,).
        correct: 0 or 1, (N,).
        bins: bin of each sample, (N,).

    Raises:
        ValueError: an array is empty, not finite, out of range, or of another length.
    """
    numbers, counts, means, accuracy = _bin_means(confidence, correct, bins)
    low, high = wilson_interval(successes=accuracy * counts, trials=counts)
    return ReliabilityTable(
        bins=numbers, counts=counts, confidence=means, accuracy=accuracy, low=low, high=high
    )


def wilson_interval(*, successes: Array, trials: Array) -> tuple[Floats, Floats]:
    """Return both ends of the 95 % interval of proportions (Wilson 1927), shaped as the input.

    Raises:
        ValueError: trials are not above 0, or successes not between 0 and trials.
    """
    check_within("[1, inf)", trials=trials)
    if (is_wrong := (successes < 0) | (successes > trials)).any():
        got = f"{successes[is_wrong][0]:g} of {trials[is_wrong][0]:g}"
        raise ValueError(f"successes must be in [0, trials], got {got}")
    share = successes / trials
    z = ndtri(0.975)
    centre = share + z**2 / (2 * trials)
    reach = z * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    low, high = (centre - reach) / scale, (centre + reach) / scale
    return np.minimum(low, share), np.maximum(high, share)  # equal but for rounding at 0 and 1


def expected_calibration_error(*, confidence: Array, correct: Array, bins: Array) -> float:
    """Return the expected calibration error: the mean over samples of |accuracy - confidence|.

    Both are means over the sample's bin. Biased upward, more so with many bins (Roelofs et al.
    2022, arXiv 2012.08668).

    Args:
        confidence: in [0, 1], (N,).
        correct: 0 or 1, or any outcome in [0, 1] that the confidence should equal, (N,).
        bins: bin of each sample, (N,).

    Raises:
        ValueError: an array is empty, not finite, out of range, or of another length.
    """
    _, counts, means, accuracy = _bin_means(confidence, correct, bins)
    return float(np.average(np.abs(accuracy - means), weights=counts))


def debiased_squared_calibration_error(*, confidence: Array, correct: Array, bins: Array) -> float:
    """Return the debiased squared calibration error; may be negative.

    The mean over samples of (accuracy - confidence)^2 - accuracy (1 - accuracy) / (n - 1), for a
    bin of n samples (Bröcker 2012; Kumar et al. 2019, arXiv 1909.10155). Bins of one sample have no
    estimate and are left out; nan if all bins are such.

    Raises:
        ValueError: an array is empty, not finite, out of range, or of another length.
    """
    _, counts, means, accuracy = _bin_means(confidence, correct, bins)
    kept = counts > 1
    if not kept.any():
        return float("nan")
    counts, means, accuracy = counts[kept], means[kept], accuracy[kept]
    squares = (accuracy - means) ** 2 - accuracy * (1 - accuracy) / (counts - 1)
    return float(np.average(squares, weights=counts))


def signed_root(value: float) -> float:
    """Return the square root of a debiased squared error, with the error's sign."""
    return float(np.sign(value) * np.sqrt(np.abs(value)))


def classwise_calibration_errors(*, probabilities: Array, labels: Array, num_bins: int) -> Floats:
    """Return the calibration error of each class's probabilities, (C,), with bins of equal width.

    Their mean is the classwise ECE (Kull et al. 2019, arXiv 1910.12656).

    Args:
        probabilities: (N, C).
        labels: (N,) in [0, C).
        num_bins: bins on [0, 1].

    Raises:
        ValueError: probabilities or labels are invalid, or `num_bins` is below 1.
    """
    forecasts, classes = class_probabilities(probabilities, labels)
    errors = [
        expected_calibration_error(
            confidence=column,
            correct=classes == number,
            bins=equal_width_bins(column, num_bins=num_bins),
        )
        for number, column in enumerate(np.minimum(forecasts, 1.0).T)
    ]
    return np.array(errors)


def _bin_means(
    confidence: Array, outcomes: Array, bins: Array
) -> tuple[Ints, Ints, Floats, Floats]:
    """Return number, count, mean confidence and mean outcome of each non-empty bin, each (B,)."""
    forecasts, found, _ = finite_vectors(confidence=confidence, correct=outcomes, bins=bins)
    check_within("[0, 1]", confidence=forecasts, correct=found)
    numbers, places, counts = np.unique(bins, return_inverse=True, return_counts=True)
    means, frequencies = (np.bincount(places, values) / counts for values in (forecasts, found))
    return numbers, counts, means, frequencies
