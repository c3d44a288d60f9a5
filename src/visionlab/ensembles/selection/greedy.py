"""Greedy selection of an ensemble's members (Caruana et al. 2004).

"Ensemble selection from libraries of models", ICML 2004.
"""

from dataclasses import dataclass

import numpy as np

from visionlab.ensembles.inputs import Floats, check_count
from visionlab.ensembles.selection.quality import Quality, remembered


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Members chosen greedily.

    Attributes:
        weights: (K,), with a sum of 1.
        quality: quality of the weights.
        picks: member added in each round.
        qualities: quality after each round.
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
    """Choose members with replacement.

    It starts from the best members alone; each round adds the member, again allowed, that makes the
    running mean best, of equals the first. The result is the best round's, of equals the first, or
    the start if no round is better. All rounds are run, since one member may be repeated before a
    mixture helps.

    Args:
        quality: from weights (K,) to a number; called at most K (`num_rounds` + 1) + 1 times.
        num_members: K.
        num_initial: members to start from, in [0, K].
        num_rounds: members to add.
        larger_is_better: whether a larger quality is better.

    Raises:
        ValueError: a count is out of range, or a quality is nan.
    """
    _check_counts(num_members, num_initial, num_rounds)
    measure = remembered(quality)
    sign = 1.0 if larger_is_better else -1.0
    units = np.eye(num_members)

    def best_first(counts: Floats) -> list[int]:
        """Return all members, from the best to the worst to add."""
        values = [-sign * measure(row / row.sum()) for row in counts + units]
        return list(np.argsort(values, kind="stable").tolist())

    counts = np.zeros(num_members)
    rounds, picks = list[tuple[float, Floats]](), list[int]()
    if num_initial:
        counts[best_first(counts)[:num_initial]] = 1.0
        rounds.append((measure(counts / num_initial), counts / num_initial))
    for _ in range(num_rounds):
        picks.append(best_first(counts)[0])
        counts[picks[-1]] += 1.0
        rounds.append((measure(counts / counts.sum()), counts / counts.sum()))
    best, weights = max(rounds, key=lambda each: sign * each[0])
    qualities = [value for value, _ in rounds[-num_rounds:]]
    return Selection(weights=weights, quality=best, picks=picks, qualities=qualities)


def _check_counts(num_members: int, num_initial: int, num_rounds: int) -> None:
    check_count("num_members", num_members, least=1)
    check_count("num_rounds", num_rounds, least=1)
    if not 0 <= num_initial <= num_members:
        raise ValueError(f"num_initial must be in [0, {num_members}], got {num_initial}")
