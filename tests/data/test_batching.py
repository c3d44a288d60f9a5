from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visionlab.data.batching import batch_rows, num_batches

SIZES = st.integers(1, 200)
ORDERS = st.none() | st.integers(0, 2**63 - 1)


def batches(
    num_samples: int, batch_size: int, order_seed: int | None, first_batch: int = 0
) -> list[list[int]]:
    rows = batch_rows(
        num_samples, batch_size=batch_size, first_batch=first_batch, order_seed=order_seed
    )
    return [batch.tolist() for batch in rows]


@given(num_samples=SIZES, batch_size=SIZES, order_seed=ORDERS)
def test_an_epoch_has_every_row_once(
    num_samples: int, batch_size: int, order_seed: int | None
) -> None:
    rows = [row for batch in batches(num_samples, batch_size, order_seed) for row in batch]
    assert sorted(rows) == list(range(num_samples))


@given(num_samples=SIZES, batch_size=SIZES, order_seed=ORDERS)
def test_all_batches_but_the_last_are_full(
    num_samples: int, batch_size: int, order_seed: int | None
) -> None:
    sizes = [len(batch) for batch in batches(num_samples, batch_size, order_seed)]
    assert len(sizes) == num_batches(num_samples, batch_size)
    assert all(size == batch_size for size in sizes[:-1])
    assert 1 <= sizes[-1] <= batch_size


@given(num_samples=SIZES, batch_size=SIZES, order_seed=ORDERS, data=st.data())
def test_resuming_gives_the_tail_of_the_epoch(
    num_samples: int, batch_size: int, order_seed: int | None, data: st.DataObject
) -> None:
    first_batch = data.draw(st.integers(0, num_batches(num_samples, batch_size)))
    whole = batches(num_samples, batch_size, order_seed)
    assert batches(num_samples, batch_size, order_seed, first_batch) == whole[first_batch:]


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


def test_orders_follow_from_the_seed() -> None:
    orders = [batches(50, 50, seed) for seed in (*range(20), 0)]
    assert orders[0] == orders[-1]
    assert all(left != right for left, right in pairwise(orders))


def test_rows_are_int64() -> None:
    rows: list[Tensor] = list(batch_rows(5, batch_size=2, first_batch=0, order_seed=3))
    assert {batch.dtype for batch in rows} == {torch.int64}


@pytest.mark.parametrize(
    ("num_samples", "batch_size", "count"),
    [(45_000, 128, 352), (1_294, 128, 11), (256, 128, 2), (257, 128, 3), (1, 128, 1), (5, 1, 5)],
)
def test_the_last_smaller_batch_counts(num_samples: int, batch_size: int, count: int) -> None:
    assert num_batches(num_samples, batch_size) == count
