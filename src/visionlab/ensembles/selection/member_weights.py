"""Weights of an ensemble's members, fitted on validation samples."""

from dataclasses import dataclass

import numpy as np

from visionlab.core.checks import is_in
from visionlab.ensembles.inputs import Array, Floats, check_count, check_within, finite
from visionlab.ensembles.selection.quality import Quality, remembered


@dataclass(frozen=True, kw_only=True)
class WeightSearch:
    """Result of a search for member weights.

    Attributes:
        weights: (K,), >= 0, with a sum of 1.
        quality: quality of the weights.
        num_evaluations: calls of the quality.
    """

    weights: Floats
    quality: float
    num_evaluations: int


def search_weights(
    quality: Quality,
    *,
    start: Array,
    step: float,
    min_step: float,
    max_evaluations: int,
    larger_is_better: bool,
) -> WeightSearch:
    """Search the simplex for better weights, without derivatives.

    A pattern search (Kolda, Lewis and Torczon 2003, SIAM Review 45:385): each sweep moves each
    member's weight up and down by the step, the others keeping their ratios, and takes every
    improvement; a sweep without one halves the step. The quality never gets worse than at the
    start. The moves span every feasible direction, so a smooth convex quality ends near its
    optimum.

    Args:
        quality: from weights (K,) to a number; called once for the same weights.
        start: weights (K,), >= 0; scaled to a sum of 1.
        step: first step, in (0, 1).
        min_step: the search ends when the step falls below it, in (0, step].
        max_evaluations: most calls of the quality.
        larger_is_better: whether a larger quality is better.

    Raises:
        ValueError: an argument is out of range, or a quality is nan.
    """
    check_count("max_evaluations", max_evaluations, least=1)
    _check_interval("(0, 1)", "step", step)
    _check_interval(f"(0, {step}]", "min_step", min_step)
    weights = _normalised(start)
    num_evaluations = 0

    def count(candidate: Floats) -> float:
        nonlocal num_evaluations
        num_evaluations += 1
        return quality(candidate)

    measure = remembered(count)
    sign = 1.0 if larger_is_better else -1.0
    best = measure(weights)
    while step >= min_step and num_evaluations < max_evaluations:
        has_improved = False
        for member in range(len(weights)):
            for change in (step, -step):
                candidate = _moved(weights, member, change)
                if candidate is None or num_evaluations >= max_evaluations:
                    continue
                if sign * (value := measure(candidate)) > sign * best:
                    weights, best, has_improved = candidate, value, True
        step = step if has_improved else step / 2
    return WeightSearch(weights=weights, quality=best, num_evaluations=num_evaluations)


@dataclass(frozen=True, kw_only=True)
class MixtureFit:
    """Weights that minimise the NLL of a mixture of members.

    Attributes:
        weights: (K,), >= 0, with a sum of 1.
        nlls: NLL in nats before each iteration and at the end; never rises.
        gap: upper bound of the distance of the last NLL from its minimum.
    """

    weights: Floats
    nlls: list[float]
    gap: float


def fit_mixture(likelihoods: Array, *, tolerance: float, max_iterations: int) -> MixtureFit:
    """Fit the weights of a weighted mean of probabilities by expectation maximisation.

    The NLL is convex in the weights. An iteration multiplies each weight by the mean over samples
    of the member's likelihood over the mixture's (Dempster, Laird and Rubin 1977). It needs no
    step size and never raises the NLL. The largest of these factors minus 1 bounds the distance of
    the NLL from its minimum, and decides when to stop.

    Args:
        likelihoods: by each member of each sample, (K, N): the probability of its true class.
        tolerance: stop when the gap is at most this, in nats, > 0.
        max_iterations: stop after so many iterations at the latest.

    Raises:
        ValueError: a likelihood is negative or not finite, all of a sample are 0, or a setting is
            out of range.
    """
    _check_interval("(0, inf)", "tolerance", tolerance)
    check_count("max_iterations", max_iterations, least=1)
    found = _checked_likelihoods(likelihoods)
    weights = np.full(len(found), 1.0 / len(found))
    nlls = list[float]()
    while True:
        mixture = weights @ found
        nlls.append(float(-np.log(mixture).mean()))
        factors = (found / mixture).mean(axis=1)
        gap = max(float(factors.max()) - 1.0, 0.0)
        if gap <= tolerance or len(nlls) > max_iterations:
            return MixtureFit(weights=weights, nlls=nlls, gap=gap)
        weights = weights * factors
        weights /= weights.sum()  # 1 but for rounding


def _moved(weights: Floats, member: int, change: float) -> Floats | None:
    """Return weights with one of them changed, the others in ratio; None if it cannot move."""
    others = weights.copy()
    others[member] = 0.0
    weight = min(max(float(weights[member]) + change, 0.0), 1.0)
    if weight == weights[member] or not others.any():
        return None
    moved: Floats = others * ((1.0 - weight) / others.sum())
    moved[member] = weight
    return moved


def _normalised(start: Array) -> Floats:
    weights = finite("start", start)
    if weights.ndim != 1:
        raise ValueError(f"start must have shape (members,), got {weights.shape}")
    check_within("[0, inf)", start=weights)
    if not weights.any():
        raise ValueError("start must have a sum above 0, got 0")
    normalised: Floats = weights / weights.sum()
    return normalised


def _checked_likelihoods(likelihoods: Array) -> Floats:
    found = finite("likelihoods", likelihoods)
    if found.ndim != 2:
        raise ValueError(f"likelihoods must be (members, samples), got shape {found.shape}")
    check_within("[0, inf)", likelihoods=found)
    if not (is_possible := found.any(axis=0)).all():
        sample = int(np.flatnonzero(~is_possible)[0])
        raise ValueError(f"likelihoods must be above 0 for a member, got 0 for sample {sample}")
    return found


def _check_interval(interval: str, name: str, value: float) -> None:
    if not is_in(interval, value):
        raise ValueError(f"{name} must be in {interval}, got {value}")
