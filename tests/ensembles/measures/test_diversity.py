"""Pairs of members, the oracle, and the gain of an ensemble over its members."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from visionlab.ensembles.measures.diversity import (
    mean_over_pairs,
    nll_ambiguity,
    oracle_error,
    pairwise_diversity,
    squared_loss_ambiguity,
)

Array = np.ndarray[Any, Any]

CORRECT = np.array(
    [[int(digit) for digit in row] for row in ("1111110001", "1111001011", "1101111000")]
)
MEMBERS = st.tuples(st.integers(1, 5), st.integers(1, 20)).flatmap(
    lambda shape: arrays(bool, shape)
)
PAIRS = (np.array([0, 0, 1]), np.array([1, 2, 2]))


def divide(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan


def naive_pair(one: Array, other: Array) -> dict[str, float]:
    pairs = list(zip(one.tolist(), other.tolist(), strict=True))
    n11, n10, n01, n00 = (
        pairs.count(each) for each in ((True, True), (True, False), (False, True), (False, False))
    )
    numerator = n11 * n00 - n01 * n10
    margins = (n11 + n10) * (n01 + n00) * (n11 + n01) * (n10 + n00)
    return {
        "disagreement": (n10 + n01) / len(pairs),
        "double_fault": n00 / len(pairs),
        "q_statistic": divide(numerator, n11 * n00 + n01 * n10),
        "correlation": divide(numerator, math.sqrt(margins)),
    }


def test_numbers_checked_by_hand() -> None:
    found = pairwise_diversity(CORRECT)
    assert found.q_statistic[PAIRS] == pytest.approx([0.1111, 0.6667, -0.2], abs=5e-5)
    assert found.correlation[PAIRS] == pytest.approx([0.0476, 0.3563, -0.0891], abs=5e-5)
    assert found.disagreement[PAIRS] == pytest.approx([0.4, 0.3, 0.5])
    assert found.double_fault[PAIRS] == pytest.approx([0.1, 0.2, 0.1])
    assert mean_over_pairs(found.disagreement) == pytest.approx(0.4)
    assert oracle_error(CORRECT) == pytest.approx(0.1)


@given(correct=MEMBERS)
def test_pairs_equal_a_loop(correct: Array) -> None:
    found = vars(pairwise_diversity(correct))
    for i, one in enumerate(correct):
        for j, other in enumerate(correct):
            for name, value in naive_pair(one, other).items():
                assert found[name][i, j] == pytest.approx(value, nan_ok=True)
    assert oracle_error(correct) == np.mean([not any(column) for column in correct.T])


@given(correct=MEMBERS, seed=st.integers(0, 99))
def test_order_of_samples_and_members_does_not_matter(correct: Array, seed: int) -> None:
    generator = np.random.default_rng(seed)
    samples, members = (generator.permutation(length) for length in correct.shape[::-1])
    before = vars(pairwise_diversity(correct))
    after = vars(pairwise_diversity(correct[members][:, samples]))
    for name, values in before.items():
        assert after[name] == pytest.approx(values[np.ix_(members, members)], nan_ok=True)
        expected = mean_over_pairs(values)
        assert mean_over_pairs(after[name]) == pytest.approx(expected, nan_ok=True)


def test_undefined_measures_are_nan() -> None:
    found = pairwise_diversity(np.array([[1, 1, 1], [1, 0, 1]]))
    assert np.isnan(found.correlation[0]).all()
    assert math.isnan(found.q_statistic[0, 1])
    assert math.isnan(mean_over_pairs(found.q_statistic))
    assert found.disagreement[0, 1] == pytest.approx(1 / 3)
    assert math.isnan(mean_over_pairs(np.ones((1, 1))))
    assert mean_over_pairs(np.array([[0, 0.5, math.nan], [0, 0, 0.25], [0, 0, 0]])) == 0.375


def test_ambiguity_of_squared_loss_checked_by_hand() -> None:
    points = np.array([(1, 2), (1.4, 2.6), (0.9, 1.7)])[:, :, None]  # two points on a line
    assert squared_loss_ambiguity(points) == pytest.approx(0.093333, abs=5e-7)
    assert squared_loss_ambiguity(points[..., 0]) == pytest.approx(0.186667, abs=5e-7)  # in a plane


def test_ambiguity_of_nll_checked_by_hand() -> None:
    logits = np.log([[(0.8, 0.15, 0.05)], [(0.5, 0.4, 0.1)], [(0.6, 0.1, 0.3)]])
    found = nll_ambiguity(logits=logits, labels=np.array([0]))
    assert found.ensemble == pytest.approx(0.389744, abs=5e-7)
    assert found.members == pytest.approx(0.475705, abs=5e-7)
    assert found.ambiguity == pytest.approx(0.085961, abs=5e-7)


@given(seed=st.integers(0, 999), num_members=st.integers(1, 5))
def test_losses_and_ambiguities_add_up(seed: int, num_members: int) -> None:
    generator = np.random.default_rng(seed)
    predictions, truth = generator.normal(size=(num_members, 6, 2)), generator.normal(size=(6, 2))
    of_members = np.mean([((each - truth) ** 2).sum(axis=-1).mean() for each in predictions])
    of_mean = ((predictions.mean(axis=0) - truth) ** 2).sum(axis=-1).mean()
    gain = squared_loss_ambiguity(predictions)
    assert of_mean == pytest.approx(of_members - gain, abs=1e-12)
    assert gain >= 0

    logits, labels = generator.normal(size=(num_members, 6, 3)), generator.integers(0, 3, 6)
    nll = nll_ambiguity(logits=logits, labels=labels)
    mean = np.exp(logits.mean(axis=0))
    expected = -np.log(mean[np.arange(6), labels] / mean.sum(axis=1)).mean()
    assert nll.ensemble == pytest.approx(expected)  # averaging logits averages log probabilities

    assert nll.ensemble == pytest.approx(nll.members - nll.ambiguity, abs=1e-12)
    assert nll.ambiguity >= -1e-12


def test_equal_members_have_no_ambiguity() -> None:
    same = np.tile(np.array([[0.5, 1, -1], [2, 0, 0]]), (3, 1, 1))
    assert squared_loss_ambiguity(same) == pytest.approx(0.0, abs=1e-15)
    found = nll_ambiguity(logits=same, labels=np.array([0, 1]))
    assert found.ambiguity == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(
    ("correct", "message"),
    [
        (np.array([[]]), "correct must have at least one value, got none"),
        (np.ones(3), r"correct must be \(members, samples\), got shape \(3,\)"),
        (np.array([[0.0, np.nan]]), "correct must be finite, got nan"),
        (np.array([[0, 2]]), r"correct must be in \[0, 1\], got 2"),
        (np.array([[0.0, 0.5]]), r"correct must be 0 or 1, got 0\.5"),
    ],
)
def test_bad_outcomes_are_refused(correct: Array, message: str) -> None:
    for measure in (pairwise_diversity, oracle_error):
        with pytest.raises(ValueError, match=f"^{message}$"):
            measure(correct)


def test_bad_predictions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^points must .* one value, got none$"):
        squared_loss_ambiguity(np.ones((0, 4)))
    labels = np.array([0, 1])
    for logits, message in {
        (2, 3): r"logits must be \(members, samples, classes >= 2\), got shape \(2, 3\)",
        (3, 2, 1): r"logits must be .*classes >= 2\), got shape \(3, 2, 1\)",
        (3, 4, 2): r"labels must have shape \(4,\), got \(2,\)",
    }.items():
        with pytest.raises(ValueError, match=f"^{message}$"):
            nll_ambiguity(logits=np.zeros(logits), labels=labels)
