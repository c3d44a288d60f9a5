from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visionlab.tasks.keypoints import InverseSpreadMean, MeanPoints, MedianPoints

FUSIONS = [MeanPoints(), MedianPoints(), InverseSpreadMean()]
POINTS = st.integers(0, 999).map(
    lambda seed: 200 * torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(seed))
)
WEIGHTS = st.lists(st.floats(0.01, 10), min_size=1, max_size=5)


def points(*xy: float) -> Tensor:
    return torch.tensor([[xy]], dtype=torch.float32)


def fused(fusion: Any, members: list[Tensor], weights: list[float]) -> list[float]:
    values: list[float] = fusion(members, weights)[0, 0].tolist()
    return values


def test_a_mean_by_hand() -> None:  # and its error, which the spread of members lowers
    members = [points(1, 2), points(1.4, 2.6), points(0.9, 1.7)]
    mean = MeanPoints()(members, [1, 1, 1])
    truth = points(1.2, 2)
    error = float((mean - truth).square().mean())
    of_members = sum(float((each - truth).square().mean()) for each in members) / 3
    spread = sum(float((each - mean).square().mean()) for each in members) / 3
    assert [error, of_members, spread] == pytest.approx([0.01, 0.103333, 0.093333], abs=1e-6)
    assert fused(MeanPoints(), members, [3, 1, 0]) == pytest.approx([1.1, 2.15])


@pytest.mark.parametrize(
    ("weights", "median"),
    [
        ([1, 1, 1, 1], 2.5),  # x is 1, 2, 3 and 9
        ([1, 1, 1, 0], 2.0),
        ([1, 1, 1, 3], 6.0),  # half of the weight below 9
        ([1, 1, 1, 3.1], 9.0),
        ([5, 1, 1, 1], 1.0),
        ([0.1, 0.2, 0.3, 0.0], 2.5),
    ],
)
def test_medians_by_hand(weights: list[float], median: float) -> None:
    members = [points(9, 1), points(2, 1), points(1, 1), points(3, 1)]
    order = [3, 1, 0, 2]
    given_weights = [weights[place] for place in order]
    assert fused(MedianPoints(), members, given_weights) == pytest.approx([median, 1])


@given(members=st.lists(POINTS, min_size=1, max_size=6))
def test_a_median_of_equal_weights_is_the_usual_one(members: list[Tensor]) -> None:
    median = np.median([each.numpy() for each in members], axis=0)
    torch.testing.assert_close(MedianPoints()(members, [2] * len(members)).numpy(), median)


def test_a_member_far_from_the_others_counts_less() -> None:
    members = [points(0, 0), points(1, 0), points(11, 0)]
    spread = [(1 + 121) / 2, (1 + 100) / 2, (121 + 100) / 2]
    shares = [1 / each for each in spread]
    x = (shares[1] + 11 * shares[2]) / sum(shares)
    assert x < 4  # the mean
    assert fused(InverseSpreadMean(), members, [1, 1, 1]) == pytest.approx([x, 0])
    # distances to a member count as often as its weight says
    spread = [(2 * 1 + 4 * 121) / 6, (1 + 4 * 100) / 5, (121 + 2 * 100) / 3]
    shares = [weight / each for weight, each in zip([1, 2, 4], spread, strict=True)]
    x = (shares[1] + 11 * shares[2]) / sum(shares)
    assert fused(InverseSpreadMean(), members, [1, 2, 4]) == pytest.approx([x, 0])
    assert fused(InverseSpreadMean(), members[:2], [1, 1]) == pytest.approx([0.5, 0])


@given(member=POINTS, weights=WEIGHTS)
def test_equal_members_fuse_to_themselves(member: Tensor, weights: list[float]) -> None:
    for fusion in FUSIONS:
        assert torch.equal(fusion([member] * len(weights), weights), member)


@given(members=st.lists(POINTS, min_size=3, max_size=3), order=st.permutations(range(3)))
def test_neither_order_nor_scale_of_weights_counts(members: list[Tensor], order: list[int]) -> None:
    weights = [0.2, 1.0, 0.7]
    for fusion in FUSIONS:
        other = fusion([members[n] for n in order], [0.1 * weights[n] for n in order])
        torch.testing.assert_close(fusion(members, weights), other)
        without = fusion([*members, torch.full_like(members[0], torch.nan)], [*weights, 0.0])
        torch.testing.assert_close(fusion(members, weights), without)


@given(members=st.lists(POINTS, min_size=2, max_size=4))
def test_shifts_and_scales_of_points_do_not_change_how_they_are_fused(
    members: list[Tensor],
) -> None:
    for fusion in FUSIONS:
        moved = fusion([3 * each + 50 for each in members], [1] * len(members))
        torch.testing.assert_close(moved, 3 * fusion(members, [1] * len(members)) + 50)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_wrong_members_are_refused(fusion: Any) -> None:
    with pytest.raises(ValueError, match=r"^members must .*, got \(1, 1, 3\) for member 1$"):
        fusion([points(1, 2), points(1, 2, 3)], [1, 1])
    with pytest.raises(ValueError, match=r"^weights must be 1 .*, got \[-1\]$"):
        fusion([points(1, 2)], [-1])
