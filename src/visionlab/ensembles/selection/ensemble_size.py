"""Quality of an ensemble against the number of its members, whose weights are equal."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from visionlab.core.seeding import derive
from visionlab.ensembles.inputs import Floats, check_count
from visionlab.ensembles.selection.quality import Quality, remembered


def equal_weights(members: Sequence[int], *, num_members: int) -> Floats:
    """Return weights (K,) with a sum of 1, equal for some members and 0 for the others."""
    weights = np.zeros(num_members)
    weights[list(members)] = 1.0 / len(members)
    return weights


@dataclass(frozen=True, kw_only=True)
class SizeQuality:
    """Quality of the ensembles of one size.

    Attributes:
        size: members, hence forward passes, of an ensemble.
        num_subsets: ensembles that were measured.
        mean: mean quality.
        low: 5 % quantile of the quality, one of the measured values.
        high: 95 % quantile, likewise.
    """

    size: int
    num_subsets: int
    mean: float
    low: float
    high: float


def quality_by_size(
    quality: Quality, *, num_members: int, sizes: Sequence[int], max_subsets: int, seed: int
) -> list[SizeQuality]:
    """Measure ensembles of equal weights of each size.

    Args:
        quality: from weights (K,) to a number; called once per subset.
        num_members: K.
        sizes: each in [1, K].
        max_subsets: all subsets of a size are measured if they are no more, otherwise so many
            different random ones.
        seed: of the random subsets, which depend on seed and size alone.

    Raises:
        ValueError: `max_subsets` is below 1, a size is out of range, or a quality is nan.
    """
    check_count("max_subsets", max_subsets, least=1)
    measure = remembered(quality)
    results = []
    for size in sizes:
        _check_size("sizes", size, num_members)
        subsets = _subsets(num_members, size, max_subsets=max_subsets, seed=seed)
        values = [measure(equal_weights(each, num_members=num_members)) for each in subsets]
        low, high = np.quantile(values, (0.05, 0.95), method="inverted_cdf")
        results.append(
            SizeQuality(
                size=size,
                num_subsets=len(values),
                mean=float(np.mean(values)),
                low=float(low),
                high=float(high),
            )
        )
    return results


def last_members(num_members: int, *, size: int) -> list[int]:
    """Return the last members, for snapshots in the order of training.

    Raises:
        ValueError: the size is not in [1, num_members].
    """
    _check_size("size", size, num_members)
    return list(range(num_members - size, num_members))


def every_nth_member(num_members: int, *, step: int) -> list[int]:
    """Return every step-th member, in order, such that the last one is among them.

    Raises:
        ValueError: the step is not in [1, num_members].
    """
    _check_size("step", step, num_members)
    return list(range((num_members - 1) % step, num_members, step))


def _subsets(
    num_members: int, size: int, *, max_subsets: int, seed: int
) -> Iterator[tuple[int, ...]]:
    if math.comb(num_members, size) <= max_subsets:
        yield from itertools.combinations(range(num_members), size)
        return
    generator = np.random.default_rng(derive(seed, "subsets", size))
    seen = set[tuple[int, ...]]()
    while len(seen) < max_subsets:
        subset = tuple(sorted(generator.choice(num_members, size, replace=False).tolist()))
        if subset not in seen:
            seen.add(subset)
            yield subset


def _check_size(name: str, size: int, num_members: int) -> None:
    if not 1 <= size <= num_members:
        raise ValueError(f"{name} must be in [1, {num_members}], got {size}")
