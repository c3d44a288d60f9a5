import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visionlab.core.fusing import relative_weights, weighted_mean, weighted_members


def test_weights_are_relative_to_the_largest() -> None:
    assert relative_weights([1, 4, 0, 2], num_members=4) == [0.25, 1.0, 0.0, 0.5]
    assert relative_weights([1e300], num_members=1) == [1.0]


@given(
    weights=st.lists(st.integers(0, 50), min_size=1, max_size=5).filter(any),
    factor=st.sampled_from([0.1, 1 / 3, 7.7, 1e-12]),
)
def test_multiples_of_weights_are_the_same_weights(weights: list[int], factor: float) -> None:
    multiples = [factor * weight for weight in weights]
    count = len(weights)
    ours = relative_weights(multiples, num_members=count)
    assert ours == relative_weights(weights, num_members=count)


@pytest.mark.parametrize(
    ("weights", "got"),
    [
        ([1, 1, 1], r"\[1, 1, 1\]"),
        ([], r"\[\]"),
        ([1, -0.5], r"\[1, -0.5\]"),
        ([0, 0.0], r"\[0, 0.0\]"),
        ([1, math.nan], r"\[1, nan\]"),
        ([1, math.inf], r"\[1, inf\]"),
    ],
)
def test_wrong_weights_are_refused(weights: list[float], got: str) -> None:
    with pytest.raises(ValueError, match=f"^weights must be 2 finite numbers >= 0.*, got {got}$"):
        relative_weights(weights, num_members=2)


def test_no_member_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^members must be at least one, got none$"):
        relative_weights([], num_members=0)


def test_members_of_other_shapes_are_refused() -> None:
    members = [torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 4)]
    with pytest.raises(
        ValueError, match=r"^members must .*, \(2, 3\) as member 0, got \(2, 4\) for member 2$"
    ):
        weighted_members(members, [1, 1, 1])


def test_a_weighted_mean() -> None:
    members, weights = weighted_members(
        [torch.tensor([1.0, 2.0]), torch.tensor([math.nan, 0.0]), torch.tensor([5.0, 4.0])],
        [3, 0, 1],
    )
    assert weighted_mean(members, weights).tolist() == pytest.approx([2.0, 2.5])
