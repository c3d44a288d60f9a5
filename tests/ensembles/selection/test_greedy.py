"""Greedy selection of members with replacement."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from member_qualities import BY_HAND, Counted, mixture_nll

from visionlab.ensembles.selection.greedy import greedy_selection

Array = np.ndarray[Any, Any]

MEMBERS = st.tuples(st.integers(1, 5), st.integers(1, 8)).flatmap(
    lambda shape: arrays(float, shape, elements=st.floats(0.01, 1))
)


def naive_greedy(
    probabilities: Array, num_initial: int, num_rounds: int
) -> tuple[list[int], list[float], float]:
    """Return picks, the NLL of each round, and the lowest NLL, with sums of probabilities."""
    num_members = len(probabilities)
    alone = [-np.log(row).mean() for row in probabilities]
    chosen = sorted(range(num_members), key=lambda k: alone[k])[:num_initial]
    picks, nlls = [], []
    start = [-np.log(probabilities[chosen].mean(axis=0)).mean()] if chosen else []
    for _ in range(num_rounds):
        found = [
            -np.log(probabilities[[*chosen, k]].mean(axis=0)).mean() for k in range(num_members)
        ]
        picks.append(min(range(num_members), key=lambda k: found[k]))
        chosen.append(picks[-1])
        nlls.append(min(found))
    return picks, nlls, min(start + nlls)


def select(quality: Any, **changes: Any) -> Any:
    arguments = {"num_members": 3, "num_initial": 0, "num_rounds": 5, "larger_is_better": False}
    return greedy_selection(quality, **arguments | changes)


def test_numbers_checked_by_hand() -> None:
    found = select(mixture_nll(BY_HAND))
    assert found.picks == [1, 1, 1, 1, 2]
    assert found.qualities == pytest.approx([0.675021] * 4 + [0.674954], abs=5e-7)
    assert found.quality == found.qualities[-1]
    assert found.weights == pytest.approx([0, 0.8, 0.2])


def test_the_start_is_the_mean_of_the_best_members_and_may_stay() -> None:
    values = {(1, 0, 0): 0.3, (0, 1, 0): 0.5, (0, 0, 1): 0.4, (0, 0.5, 0.5): 0.9}
    found = select(
        lambda weights: values.get(tuple(weights), 0.1), num_initial=2, larger_is_better=True
    )
    assert found.weights.tolist() == [0, 0.5, 0.5]
    assert found.quality == 0.9
    assert len(found.picks) == len(found.qualities) == 5


@given(probabilities=MEMBERS, num_rounds=st.integers(1, 6), num_initial=st.integers(0, 5))
def test_a_quality_is_asked_once(probabilities: Array, num_rounds: int, num_initial: int) -> None:
    num_members = len(probabilities)
    num_initial = min(num_initial, num_members)
    quality = Counted(mixture_nll(probabilities))
    found = select(quality, num_members=num_members, num_rounds=num_rounds, num_initial=num_initial)
    assert found.quality == quality.quality(found.weights) <= min(found.qualities)
    assert len(quality.seen) <= num_members * (num_rounds + 1) + 1
    assert len({weights.tobytes() for weights in quality.seen}) == len(quality.seen)


@given(seed=st.integers(0, 999), num_initial=st.integers(0, 3))
def test_selection_equals_a_loop(seed: int, num_initial: int) -> None:
    probabilities = np.random.default_rng(seed).uniform(0.05, 0.95, (4, 9))
    found = select(mixture_nll(probabilities), num_members=4, num_rounds=5, num_initial=num_initial)
    picks, nlls, lowest = naive_greedy(probabilities, num_initial, 5)
    assert found.picks == picks
    assert found.qualities == pytest.approx(nlls)
    assert found.quality == pytest.approx(lowest)


def test_larger_may_be_better() -> None:
    quality = mixture_nll(BY_HAND)
    found = select(lambda weights: -quality(weights), larger_is_better=True)
    other = select(quality)
    assert found.picks == other.picks
    assert found.weights.tolist() == other.weights.tolist()
    assert found.quality == -other.quality


def test_of_equal_members_the_first_is_chosen() -> None:
    found = select(lambda weights: 1.0, num_members=100, num_initial=2)
    assert found.picks == [0] * 5
    assert found.weights.tolist() == [0.5, 0.5, *[0] * 98]


def test_the_best_round_wins_not_the_last() -> None:
    values = {(1, 0): 0.6, (0, 1): 0.5, (0.5, 0.5): 0.9}
    found = select(
        lambda weights: values.get(tuple(weights), 0.1),
        num_members=2,
        num_rounds=4,
        larger_is_better=True,
    )
    assert found.quality == 0.9
    assert found.weights.tolist() == [0.5, 0.5]
    assert found.qualities[:3] == [0.6, 0.9, 0.1]


def test_a_member_that_is_sometimes_impossible_is_no_error() -> None:
    probabilities = np.array([[0.0, 0.9], [0.5, 0.4]])

    def quality(weights: Array) -> float:
        with np.errstate(divide="ignore"):
            return mixture_nll(probabilities)(weights)

    assert quality(np.array([1.0, 0])) == math.inf
    assert select(quality, num_members=2).quality < quality(np.array([0.0, 1]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_members": 0}, "num_members must be >= 1, got 0"),
        ({"num_rounds": 0}, "num_rounds must be >= 1, got 0"),
        ({"num_initial": 4}, r"num_initial must be in \[0, 3\], got 4"),
        ({"num_initial": -1}, r"num_initial must be in \[0, 3\], got -1"),
    ],
)
def test_bad_counts_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        select(mixture_nll(BY_HAND), **changes)


def test_a_quality_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^quality must be a number, got nan for weights "):
        select(lambda weights: math.nan)
