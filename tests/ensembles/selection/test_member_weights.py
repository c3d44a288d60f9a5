"""Weights of members: a search without derivatives, and maximum likelihood."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from member_qualities import BY_HAND, Counted, mixture_nll
from scipy.optimize import minimize

from visionlab.ensembles.selection.member_weights import fit_mixture, search_weights

Array = np.ndarray[Any, Any]

MEMBERS = st.tuples(st.integers(1, 5), st.integers(1, 12)).flatmap(
    lambda shape: arrays(float, shape, elements=st.floats(0.01, 1))
)


def search(quality: Any, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "start": np.ones(3),
        "step": 0.25,
        "min_step": 1e-4,
        "max_evaluations": 10_000,
        "larger_is_better": False,
    }
    return search_weights(quality, **arguments | changes)


def reference(probabilities: Array) -> float:
    """Return the lowest NLL that scipy finds from several starts."""
    num_members = len(probabilities)
    starts = [
        np.full(num_members, 1 / num_members),
        *(np.eye(num_members) * 0.9 + 0.1 / num_members),
    ]
    found = [
        minimize(
            lambda weights: -np.log(np.maximum(weights @ probabilities, 1e-12)).mean(),
            start / start.sum(),
            bounds=[(0, 1)] * num_members,
            constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        ).fun
        for start in starts
    ]
    return float(min(found))


@given(seed=st.integers(0, 999), num_members=st.integers(2, 5))
def test_the_mixture_is_that_of_scipy(seed: int, num_members: int) -> None:
    probabilities = np.random.default_rng(seed).uniform(0.02, 0.98, (num_members, 15))
    fit = fit_mixture(probabilities, tolerance=1e-6, max_iterations=100_000)
    assert fit.gap <= 1e-6
    assert fit.nlls[-1] == pytest.approx(reference(probabilities), abs=2e-6)
    assert fit.nlls[-1] == pytest.approx(mixture_nll(probabilities)(fit.weights))


@given(probabilities=MEMBERS, max_iterations=st.integers(1, 50))
def test_the_nll_never_rises_and_the_gap_bounds_it(
    probabilities: Array, max_iterations: int
) -> None:
    fit = fit_mixture(probabilities, tolerance=1e-9, max_iterations=max_iterations)
    assert (np.diff(fit.nlls) <= 1e-12).all()
    assert len(fit.nlls) <= max_iterations + 1
    assert (fit.weights >= 0).all()
    assert fit.weights.sum() == pytest.approx(1.0)
    uniform = np.full(len(probabilities), 1 / len(probabilities))
    assert fit.nlls[0] == pytest.approx(mixture_nll(probabilities)(uniform))
    for other in (uniform, *np.eye(len(probabilities))):
        assert fit.nlls[-1] - fit.gap <= mixture_nll(probabilities)(other) + 1e-12


@given(probabilities=MEMBERS, seed=st.integers(0, 99))
def test_order_of_members_and_samples_does_not_matter(probabilities: Array, seed: int) -> None:
    generator = np.random.default_rng(seed)
    members, samples = (generator.permutation(length) for length in probabilities.shape)
    before, after = (
        fit_mixture(each, tolerance=1e-6, max_iterations=20).weights
        for each in (probabilities, probabilities[members][:, samples])
    )
    assert after == pytest.approx(before[members], abs=1e-6)


def test_a_member_that_is_better_everywhere_gets_all_the_weight() -> None:
    probabilities = np.array([[0.2, 0.3, 0.1], [0.6, 0.9, 0.5]])
    fit = fit_mixture(probabilities, tolerance=1e-9, max_iterations=1000)
    assert fit.weights == pytest.approx([0, 1], abs=1e-8)
    alone = fit_mixture(probabilities[1:], tolerance=1e-9, max_iterations=1)
    assert alone.weights.tolist() == [1.0]
    assert alone.gap == pytest.approx(0.0, abs=1e-15)


def test_weights_checked_by_hand() -> None:
    """Right for two samples, and for one: -2/3 log w - 1/3 log(1 - w) is least at w = 2/3."""
    probabilities = np.array([[1.0, 1, 0], [0, 0, 1]])
    fit = fit_mixture(probabilities, tolerance=1e-12, max_iterations=10)
    assert fit.weights == pytest.approx([2 / 3, 1 / 3])
    assert len(fit.nlls) == 2
    with np.errstate(divide="ignore"):
        found = search(mixture_nll(probabilities), start=np.ones(2), min_step=1e-6)
    assert found.weights == pytest.approx([2 / 3, 1 / 3], abs=1e-5)


@given(seed=st.integers(0, 999), start=arrays(float, 3, elements=st.floats(0.01, 1)))
def test_the_search_finds_the_mixture_of_a_convex_loss(seed: int, start: Array) -> None:
    probabilities = np.random.default_rng(seed).uniform(0.02, 0.98, (3, 15))
    fit = fit_mixture(probabilities, tolerance=1e-7, max_iterations=100_000)
    quality = Counted(mixture_nll(probabilities))
    found = search(quality, start=start)
    assert found.quality == pytest.approx(fit.nlls[-1], abs=1e-4)
    assert found.quality == quality.quality(found.weights)
    assert found.num_evaluations == len(quality.seen)
    assert found.quality <= quality.quality(start / start.sum()) + 1e-12


@given(target=st.integers(0, 3), start=st.integers(0, 3))
def test_the_search_leaves_and_reaches_corners(target: int, start: int) -> None:
    found = search(
        lambda weights: float(((weights - np.eye(4)[target]) ** 2).sum()), start=np.eye(4)[start]
    )
    assert found.weights == pytest.approx(np.eye(4)[target], abs=1e-3)


def test_the_search_drops_members_that_do_not_help() -> None:
    target = np.array([0.625, 0.375, 0])
    found = search(lambda weights: float(np.abs(weights - target).sum()))
    assert found.weights[2] == 0.0
    assert found.weights == pytest.approx(target, abs=1e-3)


@given(limit=st.integers(1, 30), start=arrays(float, 3, elements=st.floats(0.1, 1)))
def test_the_search_keeps_its_limit_and_never_gets_worse(limit: int, start: Array) -> None:
    quality = Counted(lambda weights: float(np.sin(9 * weights).sum()))
    found = search(quality, start=start, max_evaluations=limit, larger_is_better=True)
    assert found.num_evaluations == len(quality.seen) <= limit
    assert found.quality == max(quality.quality(weights) for weights in quality.seen)
    assert found.quality >= quality.quality(start / start.sum()) - 1e-12


def test_one_member_is_its_own_ensemble() -> None:
    found = search(lambda weights: 1.0, start=np.array([5.0]))
    assert found.weights.tolist() == [1.0]
    assert found.num_evaluations == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": np.array([])}, "start must have at least one value, got none"),
        ({"start": np.ones((2, 2))}, r"start must have shape \(members,\), got \(2, 2\)"),
        ({"start": np.array([1.0, -1])}, r"start must be in \[0, inf\), got -1"),
        ({"start": np.zeros(3)}, "start must have a sum above 0, got 0"),
        ({"start": np.array([math.nan])}, "start must be finite, got nan"),
        ({"step": 1.0}, r"step must be in \(0, 1\), got 1\.0"),
        ({"min_step": 0.5}, r"min_step must be in \(0, 0\.25\], got 0\.5"),
        ({"min_step": 0.0}, r"min_step must be in \(0, 0\.25\], got 0\.0"),
        ({"max_evaluations": 0}, "max_evaluations must be >= 1, got 0"),
    ],
)
def test_bad_searches_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        search(mixture_nll(BY_HAND), **changes)
    with pytest.raises(ValueError, match=r"^quality must be a number, got nan for weights "):
        search(lambda weights: math.nan)


@pytest.mark.parametrize(
    ("probabilities", "changes", "message"),
    [
        (np.zeros((0, 3)), {}, "likelihoods must have at least one value, got none"),
        (np.ones(3), {}, r"likelihoods must be .*samples\), got shape \(3,\)"),
        (-BY_HAND, {}, r"likelihoods must be in \[0, inf\), got -0\.7"),
        (BY_HAND * np.nan, {}, "likelihoods must be finite, got nan"),
        (np.array([[0.5, 0], [1, 0]]), {}, ".* must be above 0 for a member, got 0 for sample 1"),
        (BY_HAND, {"tolerance": 0.0}, r"tolerance must be in \(0, inf\), got 0\.0"),
        (BY_HAND, {"max_iterations": 0}, "max_iterations must be >= 1, got 0"),
    ],
)
def test_bad_mixtures_are_refused(
    probabilities: Array, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        fit_mixture(probabilities, **{"tolerance": 1e-6, "max_iterations": 10} | changes)
