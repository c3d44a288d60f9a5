"""Brier score and its parts, NLL, temperature."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from visionlab.ensembles.measures.calibration import equal_mass_bins
from visionlab.ensembles.measures.probabilities import (
    brier_score,
    confidence_and_correct,
    decompose_brier,
    fit_temperature,
    nll,
    scaled_probabilities,
)

Array = np.ndarray[Any, Any]

CONFIDENCE = np.array([0.95, 0.90, 0.85, 0.80, 0.75, 0.70, 0.65, 0.60, 0.55, 0.50])
CORRECT = np.array([1, 1, 1, 0, 1, 0, 1, 1, 0, 0])
THREE_CLASSES = np.array([(0.7, 0.2, 0.1), (0.1, 0.6, 0.3), (0.2, 0.3, 0.5), (0.4, 0.35, 0.25)])
LOGITS = np.array([(4, 1, 0), (0, 3, 2), (1, 3, 0), (2, 1.5, 0), (0, 2, 3), (3, 0, 1)])
SAMPLES = st.integers(1, 30).flatmap(
    lambda count: st.tuples(
        arrays(float, count, elements=st.floats(0, 1)),
        arrays(bool, count),
        arrays(int, count, elements=st.integers(-1, 4)),
    )
)
SCORES = st.integers(1, 12).flatmap(
    lambda count: st.tuples(
        arrays(float, (count, 3), elements=st.floats(-8, 8)),
        arrays(int, count, elements=st.integers(0, 2)),
    )
)


def test_numbers_checked_by_eye() -> None:
    labels = np.array([0, 1, 1, 0])
    assert brier_score(probabilities=THREE_CLASSES, labels=labels) == pytest.approx(0.43125)
    assert nll(probabilities=THREE_CLASSES, labels=labels) == pytest.approx(0.746941, abs=5e-7)
    confidence, correct = confidence_and_correct(probabilities=THREE_CLASSES, labels=labels)
    assert confidence.tolist() == [0.7, 0.6, 0.5, 0.4]
    assert correct.tolist() == [True, True, False, True]


def test_numbers_of_two_classes() -> None:
    both = np.stack([1 - CONFIDENCE, CONFIDENCE], axis=1)
    assert nll(probabilities=both, labels=CORRECT) == pytest.approx(0.585353, abs=5e-7)
    assert brier_score(probabilities=both, labels=CORRECT) == pytest.approx(2 * 0.20625)


def test_parts_of_the_brier_score() -> None:
    bins = equal_mass_bins(CONFIDENCE, num_bins=2)
    parts = decompose_brier(confidence=CONFIDENCE, correct=CORRECT, bins=bins)
    assert parts.reliability == pytest.approx(0.02125)
    assert parts.resolution == pytest.approx(0.04)
    assert parts.uncertainty == pytest.approx(0.24)
    assert parts.within_bin_variance == pytest.approx(0.005)
    assert parts.within_bin_covariance == pytest.approx(0.01)
    assert parts.score == pytest.approx(0.20625, abs=1e-15)


@given(samples=SAMPLES)
def test_the_parts_add_up_whatever_the_bins(samples: tuple[Array, Array, Array]) -> None:
    confidence, correct, bins = samples
    parts = decompose_brier(confidence=confidence, correct=correct, bins=bins)
    assert parts.score == pytest.approx(((confidence - correct) ** 2).mean(), abs=1e-12)


@given(samples=SAMPLES, seed=st.integers(0, 99))
def test_order_of_samples_does_not_matter(samples: tuple[Array, ...], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(samples[0]))
    one, other = (
        decompose_brier(confidence=confidence, correct=correct, bins=bins)
        for confidence, correct, bins in (samples, [each[order] for each in samples])
    )
    assert vars(one) == pytest.approx(vars(other), abs=1e-12)


@given(scores=SCORES)
def test_scores_equal_a_loop(scores: tuple[Array, Array]) -> None:
    logits, labels = scores
    probabilities = scaled_probabilities(logits=logits, temperature=1.0)
    squares, logs = [], []
    for row, label in zip(probabilities, labels, strict=True):
        squares.append(sum((p - (c == label)) ** 2 for c, p in enumerate(row)))
        logs.append(-math.log(row[label]))
    assert brier_score(probabilities=probabilities, labels=labels) == pytest.approx(
        np.mean(squares)
    )
    assert nll(probabilities=probabilities, labels=labels) == pytest.approx(np.mean(logs))


def test_perfect_and_impossible_forecasts() -> None:
    perfect = {"probabilities": np.eye(3), "labels": np.arange(3)}
    assert brier_score(**perfect) == 0.0
    assert nll(**perfect) == 0.0
    opposite = {"probabilities": np.eye(2), "labels": np.array([1, 0])}
    assert brier_score(**opposite) == 2.0
    assert nll(**opposite) == math.inf


def test_sums_in_single_precision_are_probabilities() -> None:
    rows = scaled_probabilities(logits=LOGITS, temperature=0.01).astype(np.float32) * 1.0000001
    assert confidence_and_correct(probabilities=rows, labels=np.zeros(6, int))[0].max() == 1.0


def test_temperature_checked_by_hand() -> None:
    labels = np.array([0, 1, 2, 0, 1, 0])
    temperature = fit_temperature(logits=LOGITS, labels=labels)
    assert temperature == pytest.approx(1.72013, abs=1e-5)
    for value, expected in ((1.0, 0.943093), (temperature, 0.864044)):
        probabilities = scaled_probabilities(logits=LOGITS, temperature=value)
        assert nll(probabilities=probabilities, labels=labels) == pytest.approx(expected, abs=5e-7)


@given(scores=SCORES, factor=st.floats(0.5, 2))
def test_temperature_is_the_best_of_its_neighbours(
    scores: tuple[Array, Array], factor: float
) -> None:
    logits, labels = scores
    temperature = fit_temperature(logits=logits, labels=labels)
    assert math.exp(-4) <= temperature <= math.exp(4)
    fitted, other = (
        nll(probabilities=scaled_probabilities(logits=logits, temperature=each), labels=labels)
        for each in (temperature, min(max(temperature * factor, math.exp(-4)), math.exp(4)))
    )
    assert fitted <= other + 1e-4


@given(scores=SCORES, temperature=st.floats(0.1, 10))
def test_temperature_keeps_the_predicted_class(
    scores: tuple[Array, Array], temperature: float
) -> None:
    logits = np.round(scores[0], 3)  # differences that a softmax cannot lose
    scaled = scaled_probabilities(logits=logits, temperature=temperature)
    assert scaled.argmax(axis=1).tolist() == logits.argmax(axis=1).tolist()


def test_log_probabilities_serve_as_logits() -> None:
    labels = np.array([0, 1, 2, 0, 1, 0])
    logs = np.log(scaled_probabilities(logits=LOGITS, temperature=1.0))
    assert fit_temperature(logits=logs, labels=labels) == pytest.approx(1.72013, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probabilities": np.zeros((0, 3))}, r"probabilities must .* one value, got none"),
        (
            {"probabilities": np.ones(4)},
            r"probabilities must be \(samples, classes >= 2\), got shape \(4,\)",
        ),
        (
            {"probabilities": np.ones((4, 1))},
            r"probabilities .* classes >= 2\), got shape \(4, 1\)",
        ),
        ({"probabilities": THREE_CLASSES[None]}, r"probabilities must .*got shape \(1, 4, 3\)"),
        ({"probabilities": THREE_CLASSES * np.nan}, "probabilities must be finite, got nan"),
        ({"probabilities": THREE_CLASSES * 1.1}, r"probabilities must sum to 1, got 1\.1"),
        ({"probabilities": -THREE_CLASSES}, r"probabilities must be in \[0, inf\), got -0\.7"),
        ({"labels": np.array([0, 1, 1])}, r"labels must have shape \(4,\), got \(3,\)"),
        ({"labels": np.array([0, 1, 1, 3])}, r"labels must be in \[0, 3\), got 3"),
        ({"labels": np.array([0, 1, 1, -1])}, r"labels must be in \[0, 3\), got -1"),
        ({"labels": np.array([0.0, 1, 1, 2])}, "labels must be whole numbers, got float64"),
    ],
)
def test_bad_probabilities_are_refused(changes: dict[str, Array], message: str) -> None:
    arguments = {"probabilities": THREE_CLASSES, "labels": np.array([0, 1, 1, 0])} | changes
    for measure in (brier_score, nll, confidence_and_correct):
        with pytest.raises(ValueError, match=f"^{message}$"):
            measure(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"correct": CORRECT[:9]}, r"correct must have shape \(10,\), got \(9,\)"),
        ({"bins": CORRECT[:9]}, r"bins must have shape \(10,\), got \(9,\)"),
        ({"confidence": 2 * CONFIDENCE}, r"confidence must be in \[0, 1\], got 1\.9"),
        ({"correct": -CORRECT}, r"correct must be in \[0, 1\], got -1"),
        ({"confidence": np.array([])}, "confidence must have at least one value, got none"),
    ],
)
def test_bad_confidences_are_refused(changes: dict[str, Array], message: str) -> None:
    arguments = {"confidence": CONFIDENCE, "correct": CORRECT, "bins": CORRECT} | changes
    with pytest.raises(ValueError, match=f"^{message}$"):
        decompose_brier(**arguments)


def test_bad_logits_and_temperatures_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^logits must be finite, got -inf$"):
        fit_temperature(logits=np.array([[0.0, -math.inf]]), labels=np.array([0]))
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"^temperature must be .*, got {temperature}$"):
            scaled_probabilities(logits=LOGITS, temperature=temperature)
