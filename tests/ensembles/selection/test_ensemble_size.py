"""Quality against the number of members."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from member_qualities import BY_HAND, Counted, mixture_nll

from visionlab.ensembles.selection.ensemble_size import (
    equal_weights,
    every_nth_member,
    last_members,
    quality_by_size,
)

VALUES = np.array([0.1, 0.9, 0.4, 0.6, 0.5])


def mean_value(weights: Any) -> float:
    return float(weights @ VALUES)


def test_all_subsets_are_measured_if_they_are_few() -> None:
    quality = Counted(mean_value)
    found = quality_by_size(quality, num_members=5, sizes=[1, 2, 5], max_subsets=10, seed=0)
    assert [each.size for each in found] == [1, 2, 5]
    assert [each.num_subsets for each in found] == [5, 10, 1]
    assert len(quality.seen) == 16
    pairs = [np.mean(pair) for pair in itertools.combinations(VALUES, 2)]
    assert found[1].mean == pytest.approx(np.mean(pairs))
    assert (found[0].low, found[0].high) == (0.1, 0.9)
    assert (found[2].low, found[2].mean, found[2].high) == pytest.approx((0.5, 0.5, 0.5))


@given(seed=st.integers(0, 999), size=st.integers(1, 7), max_subsets=st.integers(1, 40))
def test_random_subsets_are_different_and_no_more_than_asked(
    seed: int, size: int, max_subsets: int
) -> None:
    quality = Counted(lambda weights: float(weights[0]))
    arguments: dict[str, Any] = {"num_members": 7, "max_subsets": max_subsets, "seed": seed}
    (found,) = quality_by_size(quality, sizes=[size], **arguments)
    subsets = {tuple(np.flatnonzero(weights).tolist()) for weights in quality.seen}
    assert len(subsets) == len(quality.seen) == found.num_subsets
    assert found.num_subsets == min(math.comb(7, size), max_subsets)
    assert {len(subset) for subset in subsets} == {size}
    for weights in quality.seen:
        assert weights[weights > 0] == pytest.approx(1 / size)
    assert quality_by_size(quality, sizes=[3, size], **arguments)[1] == found


def test_the_band_holds_nine_tenths() -> None:
    values = np.random.default_rng(0).permutation(100)
    (found,) = quality_by_size(
        lambda weights: float(weights @ values), num_members=100, sizes=[1], max_subsets=200, seed=0
    )
    assert (found.low, found.mean, found.high) == (4.0, 49.5, 94.0)


def test_seeds_draw_other_subsets_and_cover_all_members() -> None:
    def draw(seed: int) -> list[list[int]]:
        quality = Counted(lambda weights: 0.0)
        quality_by_size(quality, num_members=20, sizes=[10], max_subsets=20, seed=seed)
        return [np.flatnonzero(weights).tolist() for weights in quality.seen]

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)
    assert {member for subset in draw(0) for member in subset} == set(range(20))


def test_more_members_have_a_lower_nll() -> None:
    quality = mixture_nll(BY_HAND)
    found = quality_by_size(quality, num_members=3, sizes=[1, 2, 3], max_subsets=200, seed=0)
    means = [each.mean for each in found]
    assert means == sorted(means, reverse=True)


def test_an_infinite_quality_is_no_error() -> None:
    values = np.array([0.5, math.inf, 0.25])
    (found,) = quality_by_size(
        lambda weights: float(values[weights.argmax()]),
        num_members=3,
        sizes=[1],
        max_subsets=9,
        seed=0,
    )
    assert (found.low, found.mean, found.high) == (0.25, math.inf, math.inf)


def test_series_of_snapshots() -> None:
    assert last_members(5, size=2) == [3, 4]
    assert last_members(5, size=5) == [0, 1, 2, 3, 4]
    assert every_nth_member(7, step=3) == [0, 3, 6]
    assert every_nth_member(6, step=2) == [1, 3, 5]
    assert every_nth_member(4, step=1) == [0, 1, 2, 3]
    assert every_nth_member(4, step=4) == [3]
    assert equal_weights([3, 4], num_members=5).tolist() == [0, 0, 0, 0.5, 0.5]


def test_bad_input_is_refused() -> None:
    arguments: dict[str, Any] = {"num_members": 5, "sizes": [1], "max_subsets": 1, "seed": 0}
    for changes, message in (
        ({"max_subsets": 0}, r"max_subsets must be >= 1, got 0"),
        ({"sizes": [2, 6]}, r"sizes must be in \[1, 5\], got 6"),
        ({"sizes": [0]}, r"sizes must be in \[1, 5\], got 0"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            quality_by_size(mean_value, **arguments | changes)
    with pytest.raises(
        ValueError, match=r"^quality must be a number, got nan for weights \[1\.\]$"
    ):
        quality_by_size(lambda weights: math.nan, num_members=1, sizes=[1], max_subsets=1, seed=0)
    with pytest.raises(ValueError, match=r"^size must be in \[1, 5\], got 6$"):
        last_members(5, size=6)
    with pytest.raises(ValueError, match=r"^step must be in \[1, 5\], got 0$"):
        every_nth_member(5, step=0)
