import math
from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visionlab.images.batching import aspect_batches, epoch_order, group_batches, plain_batches

SIZES = st.integers(1, 200)
ORDERS = st.none() | st.integers(0, 2**63 - 1)


def batches(num_samples: int, batch_size: int, seed: int | None, epoch: int = 0) -> list[list[int]]:
    rows = plain_batches(num_samples, seed=seed, batch_size=batch_size, epoch=epoch)
    return [batch.tolist() for batch in rows]


@given(num_samples=SIZES, batch_size=SIZES, seed=ORDERS)
def test_an_epoch_has_every_row_once(num_samples: int, batch_size: int, seed: int | None) -> None:
    rows = [row for batch in batches(num_samples, batch_size, seed) for row in batch]
    assert sorted(rows) == list(range(num_samples))


@given(num_samples=SIZES, batch_size=SIZES, seed=ORDERS)
def test_all_batches_but_the_last_are_full(
    num_samples: int, batch_size: int, seed: int | None
) -> None:
    sizes = [len(batch) for batch in batches(num_samples, batch_size, seed)]
    assert len(sizes) == math.ceil(num_samples / batch_size)
    assert all(size == batch_size for size in sizes[:-1])
    assert 1 <= sizes[-1] <= batch_size


@given(num_samples=SIZES, first_size=SIZES, second_size=SIZES, seed=st.integers(0, 99))
def test_the_batch_size_cuts_the_order_and_does_not_change_it(
    num_samples: int, first_size: int, second_size: int, seed: int
) -> None:
    first, second = (
        [row for batch in batches(num_samples, size, seed) for row in batch]
        for size in (first_size, second_size)
    )
    assert first == second


def test_without_a_seed_the_order_is_that_on_disk() -> None:
    assert batches(7, 3, None) == [[0, 1, 2], [3, 4, 5], [6]]


def test_orders_follow_from_seed_and_epoch() -> None:
    for keys in (
        [(seed, 0) for seed in (*range(20), 0)],
        [(0, epoch) for epoch in (*range(20), 0)],
    ):
        orders = [batches(50, 50, *key) for key in keys]
        assert orders[0] == orders[-1]
        assert all(left != right for left, right in pairwise(orders))
        assert [epoch_order(50, seed=seed, epoch=epoch).tolist() for seed, epoch in keys] == [
            order for (order,) in orders
        ]


def test_rows_are_int64() -> None:
    rows = plain_batches(5, seed=3, batch_size=2, epoch=0)
    assert {batch.dtype for batch in rows} == {torch.int64}


ASPECTS = st.lists(st.sampled_from([0.5, 0.75, 1.0, 4 / 3]) | st.floats(0.1, 10.0), min_size=1)


def by_aspect(
    aspects: list[float] | Tensor, batch_size: int, seed: int = 0, epoch: int = 0
) -> list[list[int]]:
    rows = aspect_batches(torch.as_tensor(aspects), seed=seed, batch_size=batch_size, epoch=epoch)
    return [batch.tolist() for batch in rows]


def pairs(found: list[list[int]]) -> set[frozenset[int]]:
    """Return which rows share a batch."""
    return {frozenset(pair) for batch in found for pair in combinations(batch, 2)}


@given(aspects=ASPECTS, batch_size=st.integers(1, 12), seed=st.integers(0, 2**63 - 1))
def test_batches_of_like_aspects_have_every_row_once_and_one_of_them_may_be_smaller(
    aspects: list[float], batch_size: int, seed: int
) -> None:
    found = by_aspect(aspects, batch_size, seed)
    assert len(found) == math.ceil(len(aspects) / batch_size)
    assert sorted(row for batch in found for row in batch) == list(range(len(aspects)))
    smaller = [len(batch) for batch in found if len(batch) != batch_size]
    assert smaller == ([len(aspects) % batch_size] if len(aspects) % batch_size else [])


@given(aspects=ASPECTS, batch_size=st.integers(1, 12), seed=st.integers(0, 99))
def test_batches_overlap_in_aspect_by_a_fifth_at_most(
    aspects: list[float], batch_size: int, seed: int
) -> None:
    logs = torch.tensor(aspects, dtype=torch.float64).log()
    spans = [
        (logs[batch].min().item(), logs[batch].max().item())
        for batch in by_aspect(aspects, batch_size, seed)
    ]
    for (low, high), (other_low, other_high) in combinations(spans, 2):
        assert min(high - other_low, other_high - low) <= 0.2 + 1e-9


@pytest.mark.parametrize(
    "values", [[1.0], [0.75, 1.5], [0.5, 0.75, 1.0, 1.5]], ids=["one", "two", "four"]
)
def test_images_of_equal_aspect_meet_others_every_epoch(values: list[float]) -> None:
    aspects = torch.tensor(values).repeat(240 // len(values))
    first, second = (pairs(by_aspect(aspects, 8, epoch=epoch)) for epoch in (0, 1))
    among_peers = (8 - 1) / (240 / len(values) - 1)  # the share that chance leaves together
    assert len(first & second) / len(first) < 1.5 * among_peers + 0.02


def test_images_whose_aspects_all_differ_meet_others_too() -> None:
    aspects = [1.0 + row / 400 for row in range(80)]
    first, second = (pairs(by_aspect(aspects, 2, epoch=epoch)) for epoch in (0, 1))
    assert len(first & second) < 0.2 * len(first)


def test_batches_of_like_aspects_come_in_another_order_every_epoch() -> None:
    aspects = [
        2.0**row for row in range(12)
    ]  # too different to meet: the order is all that changes
    orders = [by_aspect(aspects, 2, epoch=epoch) for epoch in (*range(5), 0)]
    assert orders[0] == orders[-1]
    assert all(left != right for left, right in pairwise(orders))
    assert sorted(orders[0]) == sorted(orders[1])


def test_the_smaller_batch_comes_anywhere() -> None:
    places = {
        [len(batch) for batch in by_aspect([1.0] * 9, 4, seed)].index(1) for seed in range(30)
    }
    assert places == {0, 1, 2}


def test_group_batches_by_hand() -> None:
    groups = torch.tensor([3, 0, 3, 3, 0, 2, 3, 3])
    found = [batch.tolist() for batch in group_batches(groups, batch_size=2, epoch=0)]
    assert found == [[1, 4], [5], [0, 2], [3, 6], [7]]


@given(groups=st.lists(st.integers(-3, 3), min_size=1, max_size=60), batch_size=st.integers(1, 12))
def test_group_batches_keep_every_row_and_mix_no_groups(groups: list[int], batch_size: int) -> None:
    found = [
        batch.tolist()
        for batch in group_batches(torch.tensor(groups), batch_size=batch_size, epoch=3)
    ]
    assert sorted(row for batch in found for row in batch) == list(range(len(groups)))
    assert all(len({groups[row] for row in batch}) == 1 for batch in found)
    assert all(1 <= len(batch) <= batch_size for batch in found)
    assert len(found) == sum(
        math.ceil(groups.count(group) / batch_size) for group in sorted(set(groups))
    )
