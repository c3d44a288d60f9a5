"""Bins, the reliability table and calibration errors of classifiers."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest

from visionlab.ensembles.measures.calibration import (
    classwise_calibration_errors,
    debiased_squared_calibration_error,
    equal_mass_bins,
    equal_width_bins,
    expected_calibration_error,
    reliability_table,
    signed_root,
    wilson_interval,
)

Array = np.ndarray[Any, Any]

CONFIDENCE = np.array([0.95, 0.90, 0.85, 0.80, 0.75, 0.70, 0.65, 0.60, 0.55, 0.50])
CORRECT = np.array([1, 1, 1, 0, 1, 0, 1, 1, 0, 0])
TWO_BINS = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
SHARES = st.floats(0, 1) | st.integers(0, 20).map(lambda number: number / 20)
SAMPLES = st.integers(1, 30).flatmap(
    lambda count: st.tuples(arrays(float, count, elements=SHARES), arrays(bool, count))
)


def naive_error(confidence: Array, correct: Array, bins: Array) -> float:
    total = 0.0
    for number in range(bins.max() + 1):
        rows = [i for i in range(len(bins)) if bins[i] == number]
        if rows:
            accuracy = sum(correct[i] for i in rows) / len(rows)
            mean = sum(confidence[i] for i in rows) / len(rows)
            total += len(rows) / len(bins) * abs(accuracy - mean)
    return total


def naive_debiased(confidence: Array, correct: Array, bins: Array) -> float:
    total, num_samples = 0.0, 0
    for number in set(bins.tolist()):
        rows = np.flatnonzero(bins == number)
        if len(rows) > 1:
            gap = correct[rows].mean() - confidence[rows].mean()
            error = gap**2 - np.var(correct[rows], ddof=1) / len(rows)
            total += len(rows) * error
            num_samples += len(rows)
    return total / num_samples if num_samples else math.nan


def test_numbers_checked_by_eye() -> None:
    five = equal_width_bins(CONFIDENCE, num_bins=5)
    assert five.tolist() == [4, 4, 4, 3, 3, 3, 3, 2, 2, 2]
    samples = {"confidence": CONFIDENCE, "correct": CORRECT}
    assert expected_calibration_error(**samples, bins=five) == pytest.approx(0.185)
    two = equal_mass_bins(CONFIDENCE, num_bins=2)
    assert two.tolist() == TWO_BINS.tolist()
    assert expected_calibration_error(**samples, bins=two) == pytest.approx(0.125)
    debiased = debiased_squared_calibration_error(**samples, bins=two)
    assert debiased == pytest.approx(-0.02875)
    assert signed_root(debiased) == pytest.approx(-math.sqrt(0.02875))
    assert signed_root(0.25) == 0.5
    assert signed_root(0.0) == 0.0


@pytest.mark.parametrize(("num_bins", "edge", "expected"), [(5, 0.6, 2), (10, 0.3, 2), (3, 1, 2)])
def test_an_edge_belongs_to_the_bin_below(num_bins: int, edge: float, expected: int) -> None:
    values = np.array([edge, edge - 1e-6, 0.0])
    assert equal_width_bins(values, num_bins=num_bins).tolist() == [expected, expected, 0]
    above = np.array([min(edge + 1e-6, 1.0)])
    assert equal_width_bins(above, num_bins=num_bins).tolist() == [min(expected + 1, num_bins - 1)]


@given(num_bins=st.integers(1, 40), numerator=st.integers(1, 40))
def test_every_edge_belongs_to_the_bin_below(num_bins: int, numerator: int) -> None:
    edge = min(numerator, num_bins) / num_bins
    assert equal_width_bins(np.array([edge]), num_bins=num_bins)[0] == round(edge * num_bins) - 1


@given(count=st.integers(1, 40), num_bins=st.integers(1, 20), seed=st.integers(0, 99))
def test_bins_of_equal_mass_have_equal_sizes(count: int, num_bins: int, seed: int) -> None:
    values = np.random.default_rng(seed).permutation(count) / count
    bins = equal_mass_bins(values, num_bins=num_bins)
    sizes = np.bincount(bins, minlength=num_bins)
    assert len(sizes) == num_bins
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(bins[np.argsort(values)]) >= 0).all()


def test_equal_values_share_a_bin() -> None:
    assert equal_mass_bins(np.full(7, 0.3), num_bins=4).tolist() == [2] * 7
    assert equal_mass_bins(np.array([1.0, 1, 1, 0]), num_bins=2).tolist() == [1, 1, 1, 0]


@given(samples=SAMPLES, num_bins=st.integers(1, 6))
def test_errors_equal_a_loop(samples: tuple[Array, Array], num_bins: int) -> None:
    confidence, correct = samples
    for make_bins in (equal_mass_bins, equal_width_bins):
        bins = make_bins(confidence, num_bins=num_bins)
        arguments = {"confidence": confidence, "correct": correct, "bins": bins}
        expected = naive_error(confidence, correct, bins)
        assert expected_calibration_error(**arguments) == pytest.approx(expected, abs=1e-12)
        expected = naive_debiased(confidence, correct, bins)
        found = debiased_squared_calibration_error(**arguments)
        assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(samples=SAMPLES, num_bins=st.integers(1, 6), seed=st.integers(0, 99))
def test_order_of_samples_does_not_matter(
    samples: tuple[Array, Array], num_bins: int, seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(samples[0]))
    for make_bins in (equal_mass_bins, equal_width_bins):
        one, other = (
            expected_calibration_error(
                confidence=confidence,
                correct=correct,
                bins=make_bins(confidence, num_bins=num_bins),
            )
            for confidence, correct in (samples, [each[order] for each in samples])
        )
        assert one == pytest.approx(other, abs=1e-12)


@given(correct=arrays(bool, st.integers(1, 20)), num_bins=st.integers(1, 6))
def test_perfect_forecasts_have_no_error(correct: Array, num_bins: int) -> None:
    confidence = correct.astype(float)
    bins = equal_width_bins(confidence, num_bins=num_bins)
    expected = 0.0 if num_bins > 1 else abs(correct.mean() - confidence.mean())
    assert expected_calibration_error(confidence=confidence, correct=correct, bins=bins) == expected


def test_the_debiased_error_is_right_on_average() -> None:
    generator = np.random.default_rng(0)
    found = [
        debiased_squared_calibration_error(
            confidence=np.full(10, 0.8), correct=generator.random(10) < 0.7, bins=np.zeros(10)
        )
        for _ in range(1000)
    ]
    assert np.mean(found) == pytest.approx(0.01, abs=4 * np.std(found) / math.sqrt(1000))
    assert np.std(found) > 0.01


def test_the_table_of_reliability() -> None:
    table = reliability_table(confidence=CONFIDENCE, correct=CORRECT, bins=3 * TWO_BINS)
    assert table.bins.tolist() == [0, 3]
    assert table.counts.tolist() == [5, 5]
    assert table.confidence == pytest.approx([0.6, 0.85])
    assert table.accuracy == pytest.approx([0.4, 0.8])
    for row, successes in enumerate((2, 4)):
        expected = binomtest(successes, 5).proportion_ci(method="wilson")
        assert (table.low[row], table.high[row]) == pytest.approx(tuple(expected))


def test_the_interval_checked_by_hand() -> None:
    low, high = wilson_interval(successes=np.array([8, 0, 10]), trials=np.array([10, 10, 10]))
    assert (low[0], high[0]) == pytest.approx((0.4902, 0.9433), abs=5e-5)
    assert low[1] == 0.0
    assert high[2] == 1.0


@given(trials=st.integers(1, 500), share=st.floats(0, 1))
def test_the_interval_is_that_of_scipy(trials: int, share: float) -> None:
    successes = round(share * trials)
    low, high = wilson_interval(successes=np.array(successes), trials=np.array(trials))
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx(tuple(expected), abs=1e-12)
    assert low <= successes / trials <= high


def test_classwise_errors_equal_a_loop() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([0.5, 1, 2], size=50)
    labels = generator.integers(0, 3, 50)
    found = classwise_calibration_errors(probabilities=probabilities, labels=labels, num_bins=7)
    for label in range(3):
        column = probabilities[:, label]
        bins = np.clip(np.ceil(column * 7), 1, 7).astype(int) - 1
        assert found[label] == pytest.approx(naive_error(column, labels == label, bins))


def test_classwise_errors_of_perfect_forecasts() -> None:
    labels = np.array([0, 2, 1, 1])
    for rounding in (1.0, 1.0 + 1e-7):
        probabilities = rounding * np.eye(3)[labels]
        found = classwise_calibration_errors(probabilities=probabilities, labels=labels, num_bins=5)
        assert found.tolist() == [0.0, 0.0, 0.0]


def test_bins_of_one_sample_have_no_debiased_error() -> None:
    samples = {"confidence": CONFIDENCE[:3], "correct": CORRECT[:3]}
    assert math.isnan(debiased_squared_calibration_error(**samples, bins=np.arange(3)))
    found = debiased_squared_calibration_error(**samples, bins=np.array([0, 1, 1]))
    assert found == pytest.approx(0.125**2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confidence": np.array([])}, "confidence must have at least one value, got none"),
        ({"confidence": CONFIDENCE * np.nan}, "confidence must be finite, got nan"),
        ({"confidence": 2 * CONFIDENCE}, r"confidence must be in \[0, 1\], got 1\.9"),
        ({"correct": CORRECT[:9]}, r"correct must have shape \(10,\), got \(9,\)"),
        ({"correct": 2 * CORRECT}, r"correct must be in \[0, 1\], got 2"),
        ({"bins": TWO_BINS[:9]}, r"bins must have shape \(10,\), got \(9,\)"),
        ({"confidence": CONFIDENCE[:, None]}, r"confidence must have shape \(10,\), got \(10, 1\)"),
    ],
)
def test_bad_arrays_are_refused(changes: dict[str, Array], message: str) -> None:
    arguments = {"confidence": CONFIDENCE, "correct": CORRECT, "bins": TWO_BINS} | changes
    for measure in (
        expected_calibration_error,
        debiased_squared_calibration_error,
        reliability_table,
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            measure(**arguments)


def test_bad_bins_and_counts_are_refused() -> None:
    for make_bins in (equal_mass_bins, equal_width_bins):
        with pytest.raises(ValueError, match=r"^num_bins must be >= 1, got 0$"):
            make_bins(CONFIDENCE, num_bins=0)
        with pytest.raises(ValueError, match=r"^values must .*, got none$"):
            make_bins(np.array([]), num_bins=3)
    with pytest.raises(ValueError, match=r"^values must be in \[0, 1\], got -0\.1$"):
        equal_width_bins(np.array([-0.1]), num_bins=3)
    with pytest.raises(ValueError, match=r"^trials must be in \[1, inf\), got 0$"):
        wilson_interval(successes=np.array([0]), trials=np.array([0]))
    with pytest.raises(ValueError, match=r"^successes must be in \[0, trials\], got 3 of 2$"):
        wilson_interval(successes=np.array([3]), trials=np.array([2]))
