"""Diversity of an ensemble's members, and what it gains them."""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, logsumexp

from visionlab.ensembles.inputs import (
    Array,
    Floats,
    check_within,
    class_scores,
    finite,
    of_labels,
)


@dataclass(frozen=True, kw_only=True)
class PairwiseDiversity:
    """Measures of each pair of classifiers (Kuncheva & Whitaker 2003); all are (K, K), symmetric.

    With counts N11 (both right), N00 (both wrong), N10, N01, of N samples:

    Attributes:
        disagreement: (N10 + N01) / N.
        double_fault: N00 / N.
        q_statistic: (N11 N00 - N01 N10) / (N11 N00 + N01 N10), in [-1, 1]; 0 if independent, low is
            diverse; nan if both products are 0.
        correlation: the same numerator / root of the product of the four margins, in [-1, 1]; nan
            if a classifier is always right or always wrong.
    """

    disagreement: Floats
    double_fault: Floats
    q_statistic: Floats
    correlation: Floats


def pairwise_diversity(correct: Array) -> PairwiseDiversity:
    """Compare all pairs of classifiers.

    Args:
        correct: whether each of K members is right, 0 or 1, (K, N).

    Raises:
        ValueError: the shape is another, or a value is neither 0 nor 1.
    """
    right = _right(correct)
    wrong = 1.0 - right
    both, neither, one = right @ right.T, wrong @ wrong.T, right @ wrong.T  # whole numbers: exact
    num_samples = right.shape[1]
    agree, differ = both * neither, one * one.T
    margins = right.sum(axis=1) * wrong.sum(axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan
        return PairwiseDiversity(
            disagreement=(one + one.T) / num_samples,
            double_fault=neither / num_samples,
            q_statistic=(agree - differ) / (agree + differ),
            correlation=(agree - differ) / np.sqrt(np.outer(margins, margins)),
        )


def mean_over_pairs(values: Array) -> float:
    """Return the mean over pairs of different members that are not nan, from a (K, K) matrix.

    nan if there is none, as for a single member.
    """
    pairs = values[np.triu_indices(len(values), k=1)]
    defined = pairs[~np.isnan(pairs)]
    return float(defined.mean()) if defined.size else float("nan")


def oracle_error(correct: Array) -> float:
    """Return the share of samples for which all members are wrong, from `correct` (K, N).

    Raises:
        ValueError: the shape is another, or a value is neither 0 nor 1.
    """
    return float((_right(correct).max(axis=0) == 0).mean())


@dataclass(frozen=True, kw_only=True)
class Ambiguity:
    """Loss of an ensemble: the mean loss of its members minus their ambiguity (spread).

    Attributes:
        ensemble: loss of the ensemble.
        members: mean loss of the members.
        ambiguity: gain of the ensemble over its members, >= 0.
    """

    ensemble: float
    members: float
    ambiguity: float


def squared_loss_ambiguity(points: Array) -> float:
    """Return the mean squared distance of members from their mean (Krogh & Vedelsby 1995).

    Whatever the truth, this is the mean squared error of the members minus that of their mean.

    Args:
        points: (K, ..., D); squares are summed over the last axis.

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    members = finite("points", points)
    return float(((members - members.mean(axis=0)) ** 2).sum(axis=-1).mean())


def nll_ambiguity(*, logits: Array, labels: Array) -> Ambiguity:
    """Split the NLL in nats of the normalised geometric mean of members, which averages logits.

    The ambiguity is -log Z, where Z sums the geometric mean over classes. (An arithmetic mean of
    probabilities has no such split.)

    Args:
        logits: or log probabilities, (K, N, C).
        labels: (N,) in [0, C).

    Raises:
        ValueError: logits are not finite, or labels are invalid.
    """
    axes = ("members", "samples", "classes")
    scores, classes = class_scores("logits", logits, labels, axes=axes)
    log_probabilities = log_softmax(scores, axis=-1)
    mean = log_probabilities.mean(axis=0)
    log_z = logsumexp(mean, axis=-1)
    return Ambiguity(
        ensemble=float((log_z - of_labels(mean, classes)).mean()),
        members=float(-of_labels(log_probabilities, classes).mean()),
        ambiguity=float(-log_z.mean()),
    )


def _right(correct: Array) -> Floats:
    right = finite("correct", correct)
    if right.ndim != 2:
        raise ValueError(f"correct must be (members, samples), got shape {right.shape}")
    check_within("[0, 1]", correct=right)
    if (between := right % 1 != 0).any():
        raise ValueError(f"correct must be 0 or 1, got {right[between][0]:g}")
    return right
