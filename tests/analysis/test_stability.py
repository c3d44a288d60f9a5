"""Laws of stability, misclassification and mismatch."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from visionlab.analysis.stability import (
    least_stable,
    misclassification,
    mismatch,
    moving_average,
    stability_of_epochs,
    stability_of_samples,
)

Array = np.ndarray[Any, Any]
SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=8)
TABLES = arrays(bool, SHAPES)
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))


def naive_stability(correct: Array) -> list[list[bool]]:
    """Return for each epoch but the first, and each sample, whether it is as the epoch before."""
    return [
        [bool(now == before) for now, before in zip(row, above, strict=True)]
        for above, row in itertools.pairwise(correct)
    ]


def test_numbers_checked_by_eye() -> None:
    correct = np.array([[1, 0, 1, 1], [0, 0, 1, 1], [1, 0, 0, 1]], dtype=bool)
    other = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]], dtype=bool)
    assert stability_of_epochs(correct).tolist() == [0.75, 0.5]
    assert stability_of_samples(correct).tolist() == [0.0, 1.0, 0.5, 1.0]
    assert misclassification(correct) == pytest.approx([1 / 3, 1.0, 1 / 3, 0.0])
    assert mismatch(correct, other) == pytest.approx([1 / 3, 1.0, 1 / 3, 1 / 3])


@given(correct=TABLES)
def test_stability_equals_a_loop(correct: Array) -> None:
    same = naive_stability(correct)
    assert stability_of_epochs(correct) == pytest.approx([np.mean(row) for row in same])
    by_sample = [np.mean(column) for column in zip(*same, strict=True)]
    assert stability_of_samples(correct) == pytest.approx(by_sample)


@given(pair=PAIRS)
def test_all_are_shares(pair: tuple[Array, Array]) -> None:
    for shares in (
        stability_of_epochs(pair[0]),
        stability_of_samples(pair[0]),
        misclassification(pair[0]),
        mismatch(*pair),
    ):
        assert (shares >= 0).all()
        assert (shares <= 1).all()


@given(pair=PAIRS)
def test_right_for_wrong_changes_neither_stability_nor_mismatch(pair: tuple[Array, Array]) -> None:
    one, other = pair
    assert stability_of_epochs(~one).tolist() == stability_of_epochs(one).tolist()
    assert stability_of_samples(~one).tolist() == stability_of_samples(one).tolist()
    assert mismatch(~one, ~other).tolist() == mismatch(one, other).tolist()
    assert misclassification(~one) == pytest.approx(1 - misclassification(one))


@given(pair=PAIRS, seed=st.integers(0, 99))
def test_order_of_samples_moves_their_own_values_alone(
    pair: tuple[Array, Array], seed: int
) -> None:
    one, other = pair
    order = np.random.default_rng(seed).permutation(one.shape[1])
    assert stability_of_epochs(one[:, order]) == pytest.approx(stability_of_epochs(one))
    for measure in (stability_of_samples, misclassification):
        assert measure(one[:, order]).tolist() == measure(one)[order].tolist()
    moved = mismatch(one[:, order], other[:, order])
    assert moved.tolist() == mismatch(one, other)[order].tolist()


@given(row=arrays(bool, st.integers(1, 8)), num_epochs=st.integers(2, 6))
def test_what_never_changes_is_stable(row: Array, num_epochs: int) -> None:
    correct = np.tile(row, (num_epochs, 1))
    assert set(stability_of_epochs(correct)) == {1.0}
    assert set(stability_of_samples(correct)) == {1.0}


@given(pair=PAIRS)
def test_mismatch_is_symmetric_and_nothing_differs_from_itself(pair: tuple[Array, Array]) -> None:
    one, other = pair
    assert mismatch(one, other).tolist() == mismatch(other, one).tolist()
    assert not mismatch(one, one).any()
    assert set(mismatch(one, ~one)) == {1.0}


@given(pair=PAIRS, count=st.integers(1, 9))
def test_the_least_stable_samples_are_the_worst_in_order(
    pair: tuple[Array, Array], count: int
) -> None:
    one, other = pair
    badness = {
        "stability": 1 - stability_of_samples(one),
        "misclassification": misclassification(one),
        "mismatch": mismatch(one, other),
    }
    for sort, values in badness.items():
        columns = least_stable(one, other, sort=sort, count=count).tolist()
        naive = sorted(range(len(values)), key=lambda column: (-round(values[column], 9), column))
        assert columns == naive[:count]


@given(values=arrays(float, st.integers(1, 20), elements=st.floats(0, 1)), window=st.integers(1, 9))
def test_a_moving_average_is_that_of_a_loop(values: Array, window: int) -> None:
    expected = []
    for place in range(len(values)):
        near = range(place - window // 2, place - window // 2 + window)
        expected.append(np.mean([values[each] for each in near if 0 <= each < len(values)]))
    assert moving_average(values, window) == pytest.approx(expected)
    assert moving_average(values, 1).tolist() == values.tolist()


def test_wrong_input_is_one_line() -> None:
    one_epoch = np.ones((1, 3), dtype=bool)
    with pytest.raises(ValueError, match=r"^other must have shape \(1, 3\), got \(1, 2\)$"):
        mismatch(one_epoch, one_epoch[:, :2])
    with pytest.raises(ValueError, match=r"^sort must not be mismatch for runs without averages"):
        least_stable(one_epoch, None, sort="mismatch", count=1)
