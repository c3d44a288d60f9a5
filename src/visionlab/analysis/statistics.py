"""Means and deviations over seeds.

Repeats of a seed are averaged before seeds are. Standard deviations have n - 1 in the denominator.
"""

import math
import statistics
from collections.abc import Iterable, Sequence


def mean_by_seed(values: Iterable[tuple[int, float]]) -> dict[int, float]:
    """Return the mean of each seed, in the order of seeds, from pairs of seed and value."""
    by_seed: dict[int, list[float]] = {}
    for seed, value in values:
        by_seed.setdefault(seed, []).append(value)
    return {seed: statistics.fmean(by_seed[seed]) for seed in sorted(by_seed)}


def std(values: Sequence[float]) -> float:
    """Return the standard deviation, 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def confidence_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean by Student's t, or None for a single value."""
    from scipy import stats  # takes longer to import than most tables to make

    if len(values) < 2:
        return None
    mean, num_values = statistics.fmean(values), len(values)
    reach = stats.t.ppf(0.975, num_values - 1) * statistics.stdev(values) / math.sqrt(num_values)
    return mean - reach, mean + reach


def are_apart(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether two means differ beyond noise: Welch's t test at 5 %.

    Never for a single value, which shows no noise.
    """
    from scipy import stats

    if min(len(one), len(other)) < 2:
        return False
    difference = abs(statistics.fmean(one) - statistics.fmean(other))
    first, second = (statistics.variance(each) / len(each) for each in (one, other))
    if first + second == 0:
        return difference > 0
    spread = first**2 / (len(one) - 1) + second**2 / (len(other) - 1)
    reach = stats.t.ppf(0.975, (first + second) ** 2 / spread) * math.sqrt(first + second)
    return bool(difference > reach)
