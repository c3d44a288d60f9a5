"""Choice of an ensemble's members: how many, and which.

Every function takes a quality: a callable from member weights (K,), >= 0 and with a sum of 1, to a
number on validation samples. It may be expensive (a fusion of detections), so it is called once for
equal weights, and arguments limit the number of calls.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from visionlab.core.checks import is_in
from visionlab.core.seeding import derive
from visionlab.ensembles.inputs import Floats, Ints, check_count

Quality = Callable[[Floats], float]


def remembered(quality: Quality, *, num_members: int) -> Quality:
    """Return the quality with a memory of its values.

    Weights without an effect on the prediction, those of equal ratios, then cost one call. Calling
    the result raises a ValueError if the quality is nan.
    """
    check_count("num_members", num_members, least=1)
    values: dict[bytes, float] = {}

    def remember(weights: Floats) -> float:
        if (key := weights.tobytes()) not in values:
            values[key] = float(quality(weights.copy()))
            if math.isnan(values[key]):
                raise ValueError(f"quality must be a number, got nan for weights {weights}")
        return values[key]

    return remember


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
        low: 5 % quantile of the quality.
        high: 95 % quantile.
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
        quality: see the module.
        num_members: K.
        sizes: each in [1, K].
        max_subsets: all subsets of a size are measured if they are no more, otherwise so many
            different random ones.
        seed: of the random subsets, which depend on seed and size alone.

    Raises:
        ValueError: `max_subsets` is below 1, a size is out of range, or a quality is nan.
    """
    check_count("max_subsets", max_subsets, least=1)
    measure = remembered(quality, num_members=num_members)
    results = []
    for size in sizes:
        _check_size("sizes", size, num_members)
        subsets = _subsets(num_members, size, max_subsets=max_subsets, seed=seed)
        values = [measure(equal_weights(each, num_members=num_members)) for each in subsets]
        low, high = np.quantile(values, (0.05, 0.95))
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


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Members chosen greedily.

    Attributes:
        weights: (K,), with a sum of 1.
        quality: quality of the weights.
        picks: member added in each round, all rounds.
        qualities: quality after each round, all rounds.
    """

    weights: Floats
    quality: float
    picks: list[int]
    qualities: list[float]


def greedy_selection(
    quality: Quality,
    *,
    num_members: int,
    num_initial: int,
    num_rounds: int,
    larger_is_better: bool,
) -> Selection:
    """Choose members with replacement (Caruana et al. 2004, "Ensemble selection from libraries").

    It starts from the best members alone; each round adds the member, again allowed, that makes the
    running mean best, of equals the first. The result is the best round's, of equals the first, or
    the start if no round is better. All rounds are run, since one member may be repeated before a
    mixture helps.

    Args:
        quality: see the module; called at most `num_members` * (`num_rounds` + 1) + 1 times.
        num_members: K.
        num_initial: members to start from, in [0, K].
        num_rounds: members to add.
        larger_is_better: whether a larger quality is better.

    Raises:
        ValueError: a count is out of range, or a quality is nan.
    """
    _check_selection(num_members, num_initial, num_rounds)
    measure = remembered(quality, num_members=num_members)
    candidates = np.arange(num_members)
    return _select(measure, candidates, num_members, num_initial, num_rounds, larger_is_better)


def bagged_selection(
    quality: Quality,
    *,
    num_members: int,
    num_initial: int,
    num_rounds: int,
    num_bags: int,
    bag_share: float,
    seed: int,
    larger_is_better: bool,
) -> Floats:
    """Return the mean weights, (K,), of greedy selections from random parts of the members.

    Args:
        quality: see the module.
        num_members: K.
        num_initial: members to start from; all members of a bag if it has fewer.
        num_rounds: members to add.
        num_bags: selections; 20 in Caruana et al. 2004.
        bag_share: share of members in a bag, in (0, 1], rounded up; 0.5 in Caruana et al.
        seed: of the bags.
        larger_is_better: whether a larger quality is better.

    Raises:
        ValueError: a count or share is out of range, or a quality is nan.
    """
    _check_selection(num_members, num_initial, num_rounds)
    check_count("num_bags", num_bags, least=1)
    if not is_in("(0, 1]", bag_share):
        raise ValueError(f"bag_share must be in (0, 1], got {bag_share}")
    measure = remembered(quality, num_members=num_members)
    size = math.ceil(bag_share * num_members)
    weights = np.zeros(num_members)
    for number in range(num_bags):
        generator = np.random.default_rng(derive(seed, "bag", number))
        bag = np.sort(generator.choice(num_members, size, replace=False))
        start = min(num_initial, size)
        weights += _select(measure, bag, num_members, start, num_rounds, larger_is_better).weights
    return weights / num_bags


def _select(
    measure: Quality,
    candidates: Ints,
    num_members: int,
    num_initial: int,
    num_rounds: int,
    larger_is_better: bool,
) -> Selection:
    sign = 1.0 if larger_is_better else -1.0
    units = np.eye(num_members)

    def best_first(counts: Floats) -> Ints:
        """Return candidates in the order of quality when added to counts."""
        sums = counts + units[candidates]
        values = [sign * measure(row / row.sum()) for row in sums]
        return candidates[np.argsort(-np.array(values), kind="stable")]

    counts = np.zeros(num_members)
    rounds, picks, qualities = list[tuple[float, Floats]](), list[int](), list[float]()
    if num_initial:
        counts[best_first(counts)[:num_initial]] = 1.0
        rounds.append((measure(counts / num_initial), counts / num_initial))
    for _ in range(num_rounds):
        picks.append(int(best_first(counts)[0]))
        counts[picks[-1]] += 1.0
        weights = counts / counts.sum()
        qualities.append(measure(weights))
        rounds.append((qualities[-1], weights))
    value, weights = max(rounds, key=lambda each: sign * each[0])
    return Selection(weights=weights, quality=value, picks=picks, qualities=qualities)


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


def _check_selection(num_members: int, num_initial: int, num_rounds: int) -> None:
    check_count("num_members", num_members, least=1)
    check_count("num_rounds", num_rounds, least=1)
    if not 0 <= num_initial <= num_members:
        raise ValueError(f"num_initial must be in [0, {num_members}], got {num_initial}")
