"""Spread of members against the error of their mean."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from visionlab.ensembles.measures.point_calibration import (
    expected_normalised_calibration_error,
    member_variances,
    rank_correlation,
    sparsification,
    spread_table,
    variance_scale,
)

Array = np.ndarray[Any, Any]

ERRORS = np.array([1.0, 4, 2, 9, 16, 6])
VARIANCES = np.array([1.0, 2, 2, 4, 8, 3])
BOTH: dict[str, Array] = {"variances": VARIANCES, "squared_errors": ERRORS}
SQUARES = st.integers(1, 20).flatmap(
    lambda count: st.tuples(*[arrays(float, count, elements=st.integers(0, 6).map(float))] * 2)
)


def ence(*, num_bins: int, **squares: Array) -> float:
    return expected_normalised_calibration_error(spread_table(**squares, num_bins=num_bins))


def naive_curve(order_by: Array, errors: Array) -> list[float]:
    """Return the mean of the errors left, averaged over two opposite orders of ties."""
    curves = []
    for sign in (1, -1):
        rows = sorted(range(len(errors)), key=lambda i: (order_by[i], sign * errors[i]))
        curves.append(
            [np.mean([errors[i] for i in rows[:left]]) for left in range(len(rows), 0, -1)]
        )
    return [float(np.mean(pair)) for pair in zip(*curves, strict=True)]


def test_numbers_checked_by_hand() -> None:
    assert ence(**BOTH, num_bins=2) == pytest.approx(0.310403, abs=5e-7)
    assert variance_scale(**BOTH) == pytest.approx(1.708333, abs=5e-7)
    assert rank_correlation(**BOTH) == pytest.approx(spearmanr(VARIANCES, ERRORS).statistic)


def test_a_table_checked_by_hand() -> None:
    table = spread_table(**BOTH, num_bins=2)
    assert table.counts.tolist() == [3, 3]
    assert table.spread == pytest.approx([1.2910, 2.2361], abs=5e-5)
    assert table.error == pytest.approx([1.5275, 3.2146], abs=5e-5)


@given(squares=SQUARES, num_bins=st.integers(1, 6))
def test_a_table_holds_every_landmark(squares: tuple[Array, Array], num_bins: int) -> None:
    variances, errors = squares
    table = spread_table(variances=variances, squared_errors=errors, num_bins=num_bins)
    assert table.counts.sum() == len(variances)
    assert (table.counts * table.spread**2).sum() == pytest.approx(variances.sum())
    assert (table.counts * table.error**2).sum() == pytest.approx(errors.sum())
    assert (np.diff(table.spread) > 0).all()


def test_variances_of_members_checked_by_eye() -> None:
    points = np.array([[[0.0, 0.0], [1, 1]], [[2, 0], [1, 1]], [[4, 3], [1, 1]]])  # 3 members
    assert member_variances(points).tolist() == [(4 + 0 + 4 + 1 + 1 + 4) / 2, 0.0]
    points[1, 1, 0] = np.nan
    assert np.isnan(member_variances(points)).tolist() == [False, True]


@given(seed=st.integers(0, 999), num_members=st.integers(2, 5))
def test_variances_of_members_equal_a_loop(seed: int, num_members: int) -> None:
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(num_members, 4, 3, 2))
    variances = member_variances(points)
    for i, j in np.ndindex(4, 3):
        mean = sum(points[k, i, j] for k in range(num_members)) / num_members
        spread = sum(((points[k, i, j] - mean) ** 2).sum() for k in range(num_members))
        assert variances[i, j] == pytest.approx(spread / (num_members - 1))
    assert member_variances(generator.permutation(points)) == pytest.approx(variances)


def test_calibrated_gaussians_need_no_factor() -> None:
    generator = np.random.default_rng(0)
    variances = generator.uniform(1, 4, 20000)
    samples = {
        "variances": variances,
        "squared_errors": generator.normal(scale=np.sqrt(variances)) ** 2,
    }
    assert variance_scale(**samples) == pytest.approx(1.0, abs=0.05)
    assert ence(**samples, num_bins=15) < 0.05
    assert 0 < rank_correlation(**samples) < 0.5
    assert variance_scale(variances=variances / 4, squared_errors=samples["squared_errors"]) > 3.8


@given(variances=arrays(float, st.integers(1, 20), elements=st.floats(0.1, 9)))
def test_errors_equal_to_variances_are_perfect(variances: Array) -> None:
    perfect = {"variances": variances, "squared_errors": variances}
    assert ence(**perfect, num_bins=4) == pytest.approx(0.0, abs=1e-12)
    assert variance_scale(**perfect) == pytest.approx(1.0)
    curves = sparsification(variances=variances, errors=np.sqrt(variances))
    assert curves.area == pytest.approx(0.0, abs=1e-12)


@given(squares=SQUARES, seed=st.integers(0, 99))
def test_order_of_samples_does_not_matter(squares: tuple[Array, Array], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(squares[0]))
    measures = [
        (
            ence(variances=variances, squared_errors=errors, num_bins=3),
            variance_scale(variances=variances, squared_errors=errors),
            rank_correlation(variances=variances, squared_errors=errors),
            sparsification(variances=variances, errors=errors).area,
        )
        for variances, errors in (squares, [each[order] for each in squares])
    ]
    assert measures[0] == pytest.approx(measures[1], abs=1e-12, nan_ok=True)


@given(squares=SQUARES)
def test_sparsification_equals_a_loop(squares: tuple[Array, Array]) -> None:
    variances, errors = squares
    curves = sparsification(variances=variances, errors=errors)
    scale = errors.mean() or 1.0
    assert curves.removed == pytest.approx(np.arange(len(errors)) / len(errors))
    assert curves.oracle == pytest.approx(np.array(naive_curve(errors, errors)) / scale)
    assert curves.by_variance[0] == pytest.approx(1.0 if errors.any() else 0.0)
    assert curves.area >= -1e-12
    for variance in np.unique(variances):  # where no tie is split
        kept = errors[variances <= variance]
        assert curves.by_variance[len(errors) - len(kept)] == pytest.approx(kept.mean() / scale)


def test_ties_are_removed_in_random_order() -> None:
    variances, errors = np.array([1.0, 2, 2, 3]), np.array([2.0, 1, 5, 4])
    curves = sparsification(variances=variances, errors=errors)
    assert curves.by_variance == pytest.approx(np.array(naive_curve(variances, errors)) / 3)
    assert curves.by_variance == pytest.approx(np.array([3, 8 / 3, 2.5, 2]) / 3)
    constant = sparsification(variances=np.ones(4), errors=errors)
    assert constant.by_variance == pytest.approx(np.ones(4))


def test_undefined_measures_are_nan() -> None:
    zeros = {"variances": np.array([0.0, 0, 1]), "squared_errors": np.array([1.0, 2, 3])}
    assert math.isnan(variance_scale(**zeros))
    assert math.isnan(ence(**zeros, num_bins=2))
    assert ence(**zeros, num_bins=1) == pytest.approx(math.sqrt(6) - 1)
    constant = {"variances": np.ones(3), "squared_errors": np.array([1.0, 2, 3])}
    assert math.isnan(rank_correlation(**constant))
    assert math.isnan(rank_correlation(variances=np.array([1.0]), squared_errors=np.array([1.0])))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variances": np.array([])}, "variances must have at least one value, got none"),
        ({"variances": -VARIANCES}, r"variances must be in \[0, inf\), got -8"),
        ({"squared_errors": ERRORS[:5]}, r"squared_errors must have shape \(6,\), got \(5,\)"),
        ({"squared_errors": ERRORS * np.nan}, "squared_errors must be finite, got nan"),
    ],
)
def test_bad_arrays_are_refused(changes: dict[str, Array], message: str) -> None:
    for measure in (variance_scale, rank_correlation):
        with pytest.raises(ValueError, match=f"^{message}$"):
            measure(**BOTH | changes)
    with pytest.raises(ValueError, match=f"^{message}$"):
        ence(**BOTH | changes, num_bins=2)


def test_bad_points_bins_and_errors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^points must be .*>= 2.*, got shape \(1, 3, 2\)$"):
        member_variances(np.zeros((1, 3, 2)))
    with pytest.raises(ValueError, match=r"^num_bins must be >= 1, got 0$"):
        ence(**BOTH, num_bins=0)
    with pytest.raises(ValueError, match=r"^errors must be in \[0, inf\), got -16$"):
        sparsification(variances=VARIANCES, errors=-ERRORS)
