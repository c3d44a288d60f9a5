"""Calibration and diversity of classifiers."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from visionlab.ensembles.inputs import Array, Floats, Ints
from visionlab.ensembles.measures.calibration import (
    classwise_calibration_errors,
    debiased_squared_calibration_error,
    equal_mass_bins,
    equal_width_bins,
    expected_calibration_error,
    reliability_table,
    signed_root,
)
from visionlab.ensembles.measures.diversity import (
    mean_over_pairs,
    nll_ambiguity,
    oracle_error,
    pairwise_diversity,
)
from visionlab.ensembles.measures.probabilities import (
    brier_score,
    confidence_and_correct,
    decompose_brier,
    fit_temperature,
    nll,
    scaled_probabilities,
)
from visionlab.ensembles.prediction import Evaluated

NUM_BINS = 15  # Guo et al. 2017, arXiv 1706.04599
_SMALLEST = 1e-12  # probability in logarithms


def is_of_classes(found: Evaluated) -> bool:
    """Return whether a result is that of a classifier."""
    return {"label", "correct"} <= set(found.samples)


def probabilities_of(found: Evaluated) -> Floats:
    """Return the predicted probabilities, (N, C)."""
    assert found.predictions is not None
    return found.predictions.double().numpy()


def labels_of(found: Evaluated) -> Ints:
    """Return the true classes, (N,)."""
    return found.samples["label"].long().numpy()


def class_calibration(found: Evaluated, on_val: Evaluated | None) -> dict[str, Any]:
    """Return the calibration of class probabilities, also after scaling by a temperature.

    Args:
        found: what is measured.
        on_val: the same on validation samples, to which the temperature is fitted; None without
            any.

    Raises:
        ValueError: predictions are not finite.
    """
    probabilities, labels = probabilities_of(found), labels_of(found)
    measures = _measures(probabilities, labels)
    if on_val is not None:
        temperature = fit_temperature(
            logits=_logits(probabilities_of(on_val)), labels=labels_of(on_val)
        )
        scaled = scaled_probabilities(logits=_logits(probabilities), temperature=temperature)
        of_scaled = _measures(scaled, labels)
        measures |= {"temperature": temperature}
        measures |= {f"scaled_{name}": of_scaled[name] for name in ("nll", "brier", "ece")}
    confidence, correct = confidence_and_correct(probabilities=probabilities, labels=labels)
    bins = equal_mass_bins(confidence, num_bins=NUM_BINS)
    parts = decompose_brier(confidence=confidence, correct=correct, bins=bins)
    return {
        **measures,
        "brier_parts": asdict(parts),
        "reliability": reliability_columns(confidence, correct, bins),
    }


def reliability_columns(confidence: Array, correct: Array, bins: Array) -> dict[str, list[float]]:
    """Return a reliability table as plain lists."""
    table = asdict(reliability_table(confidence=confidence, correct=correct, bins=bins))
    return {name: column.tolist() for name, column in table.items()}


def class_diversity(members: Sequence[Evaluated]) -> dict[str, Any]:
    """Return means over pairs of classifiers, and the matrices of pairs.

    Raises:
        ValueError: predictions are not finite.
    """
    correct = np.stack([member.samples["correct"].numpy() for member in members])
    pairs = asdict(pairwise_diversity(correct))
    logits = _logits(np.stack([probabilities_of(member) for member in members]))
    split = nll_ambiguity(logits=logits, labels=labels_of(members[0]))
    return {
        **{name: mean_over_pairs(matrix) for name, matrix in pairs.items()},
        "oracle_error": oracle_error(correct),
        "ambiguity": split.ambiguity,
        "pairs": {name: matrix.tolist() for name, matrix in pairs.items()},
    }


def _logits(probabilities: Floats) -> Floats:
    return np.log(np.maximum(probabilities, _SMALLEST))


def _measures(probabilities: Array, labels: Array) -> dict[str, float]:
    confidence, correct = confidence_and_correct(probabilities=probabilities, labels=labels)
    mass = equal_mass_bins(confidence, num_bins=NUM_BINS)
    width = equal_width_bins(confidence, num_bins=NUM_BINS)
    pairs = {"confidence": confidence, "correct": correct}
    return {
        "nll": nll(probabilities=probabilities, labels=labels),
        "brier": brier_score(probabilities=probabilities, labels=labels),
        "ece": expected_calibration_error(**pairs, bins=mass),
        "ece_equal_width": expected_calibration_error(**pairs, bins=width),
        "ece_debiased": signed_root(debiased_squared_calibration_error(**pairs, bins=mass)),
        "ece_classwise": float(
            classwise_calibration_errors(
                probabilities=probabilities, labels=labels, num_bins=NUM_BINS
            ).mean()
        ),
    }
