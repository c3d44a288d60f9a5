"""Worth of an ensemble: quality against its size, and weights chosen on validation samples."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from visionlab.ensembles.ensemble import Ensemble, EnsemblePredictions
from visionlab.ensembles.inputs import Floats, of_labels
from visionlab.ensembles.measures.probabilities import nll
from visionlab.ensembles.prediction import Evaluated
from visionlab.ensembles.results.classes import is_of_classes, labels_of, probabilities_of
from visionlab.ensembles.selection.ensemble_size import (
    equal_weights,
    every_nth_member,
    last_members,
    quality_by_size,
)
from visionlab.ensembles.selection.greedy import greedy_selection
from visionlab.ensembles.selection.member_weights import fit_mixture, search_weights
from visionlab.ensembles.selection.quality import Quality

_NUM_INITIAL = 3  # members from which greedy selection starts, M6.5
_FIRST_STEP, _LAST_STEP = 0.25, 0.02  # of a member's weight
_TOLERANCE, _MAX_ITERATIONS = 1e-4, 1000  # of the start from a mixture


def size_curve(
    predictions: EnsemblePredictions, ensemble: Ensemble, *, metric: str
) -> dict[str, Any]:
    """Return a metric against the number of members, whose weights are equal.

    `subsets` has mean, 5 % and 95 % quantile over all subsets of each size, or over
    `ensemble.max_subsets` random ones; `last` has the last members, and `spread` every n-th member
    up to the last.
    """
    count = len(predictions.predicted)
    quality = _metric_of(predictions, metric)
    sizes = quality_by_size(
        quality,
        num_members=count,
        sizes=range(1, count + 1),
        max_subsets=ensemble.max_subsets,
        seed=ensemble.seed,
    )
    last = [last_members(count, size=size) for size in range(1, count + 1)]
    spread: dict[int, list[int]] = {}  # by size; of several the most distant members
    for step in range(count, 0, -1):
        found = every_nth_member(count, step=step)
        spread.setdefault(len(found), found)
    return {
        "metric": metric,
        "subsets": [asdict(each) for each in sizes],
        "last": _of_subsets(last, quality, count),
        "spread": _of_subsets([*spread.values()], quality, count),
    }


def _of_subsets(
    subsets: Sequence[Sequence[int]], quality: Quality, count: int
) -> list[dict[str, float]]:
    return [
        {"size": len(each), "value": quality(equal_weights(each, num_members=count))}
        for each in subsets
    ]


def chosen_weights(
    predictions: EnsemblePredictions, ensemble: Ensemble, *, metric: str, mode: str
) -> dict[str, dict[str, float]]:
    """Return weights of the members that do well on some samples, by name of the method.

    `greedy` adds members one by one, `fitted` searches the weights. Classifiers are compared by
    NLL, others by a metric of which more (`max`) or less (`min`) is better.
    """
    names = list(predictions.predicted)
    members = [predictions.member(name) for name in names]
    is_classes = is_of_classes(members[0])
    quality = _nll_of(predictions) if is_classes else _metric_of(predictions, metric)
    larger_is_better = mode == "max" and not is_classes
    greedy = greedy_selection(
        quality,
        num_members=len(names),
        num_initial=min(_NUM_INITIAL, len(names)),
        num_rounds=ensemble.num_rounds,
        larger_is_better=larger_is_better,
    )
    fitted = search_weights(
        quality,
        start=_mixture(members) if is_classes else np.ones(len(names)),
        step=_FIRST_STEP,
        min_step=_LAST_STEP,
        max_evaluations=ensemble.max_subsets,
        larger_is_better=larger_is_better,
    )
    return {
        "greedy": dict(zip(names, greedy.weights.tolist(), strict=True)),
        "fitted": dict(zip(names, fitted.weights.tolist(), strict=True)),
    }


def _metric_of(predictions: EnsemblePredictions, metric: str) -> Quality:
    def quality(weights: Floats) -> float:
        return predictions.fused(_by_name(predictions, weights)).metrics[metric]

    return quality


def _nll_of(predictions: EnsemblePredictions) -> Quality:
    """Return the NLL as a function of weights, for classifiers."""

    def quality(weights: Floats) -> float:
        fused = predictions.fused(_by_name(predictions, weights))
        return nll(probabilities=probabilities_of(fused), labels=labels_of(fused))

    return quality


def _by_name(predictions: EnsemblePredictions, weights: Floats) -> Mapping[str, float]:
    return dict(zip(predictions.predicted, weights.tolist(), strict=True))


def _mixture(members: Sequence[Evaluated]) -> Floats:
    """Return the weights of a mean of probabilities that minimise the NLL."""
    rows = [of_labels(probabilities_of(member), labels_of(member)) for member in members]
    likelihoods = np.maximum(np.stack(rows), np.finfo(np.float32).tiny)
    fit = fit_mixture(likelihoods, tolerance=_TOLERANCE, max_iterations=_MAX_ITERATIONS)
    return fit.weights
