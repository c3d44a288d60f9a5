"""Calibration and diversity of models, from their predictions and the metric's per-sample results.

What can be measured follows from those results: `label` and `correct` are those of classifiers,
`outcomes` and `ious` of detectors, `errors_px` of landmarks. Other results have no calibration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from visionlab.ensembles.inputs import Array, Floats
from visionlab.ensembles.measures.box_calibration import (
    MatchedDetections,
    detection_calibration_error,
    localisation_aware_adaptive_errors,
    localisation_aware_calibration_errors,
    mean_over_classes,
)
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
from visionlab.ensembles.measures.operating_points import operating_points
from visionlab.ensembles.measures.point_calibration import (
    expected_normalised_calibration_error,
    rank_correlation,
    sparsification,
    variance_scale,
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
NUM_BOX_BINS = 25  # Oksuz et al. 2023, arXiv 2307.00934
MATCH_IOU = 0.5
_SMALLEST = 1e-12  # probability in logarithms
Arrays = Mapping[str, Array]


def calibration(
    found: Evaluated,
    on_val: Evaluated | None,
    *,
    members: Sequence[Evaluated],
    members_on_val: Sequence[Evaluated],
) -> dict[str, Any]:
    """Return the calibration of a model or ensemble; empty if it has none.

    Args:
        found: what is measured.
        on_val: the same on validation samples, to which temperature, score thresholds or scale of
            the variance are fitted; None without any.
        members: of an ensemble of landmarks, whose spread is compared with its errors; fewer than 2
            for a single model.
        members_on_val: likewise, on validation samples.

    Raises:
        ValueError: predictions are not finite.
    """
    samples = arrays_of(found.samples)
    if is_of_classes(samples):
        fitted = None if on_val is None else _best_temperature(on_val)
        return _class_calibration(found, temperature=fitted)
    if _is_of_boxes(samples):
        thresholds = None
        if on_val is not None:
            thresholds = operating_points(_matched(arrays_of(on_val.samples))).thresholds
        return _box_calibration(samples, thresholds=thresholds)
    if _is_of_points(samples) and len(members) > 1:
        scale = None
        if on_val is not None:
            variances, errors = _known_spread(members_on_val, on_val)
            scale = variance_scale(variances=variances, squared_errors=errors**2)
        return _point_calibration(*_known_spread(members, found), scale=scale)
    return {}


def diversity(members: Sequence[Evaluated]) -> dict[str, Any]:
    """Return how members differ: means over pairs, and `pairs`, matrices in their order.

    Empty for detectors, which `overlaps` compares.

    Raises:
        ValueError: predictions are not finite.
    """
    samples = [arrays_of(member.samples) for member in members]
    if is_of_classes(samples[0]):
        return _class_diversity(samples, _stacked(members))
    if _is_of_points(samples[0]):
        return _point_diversity(_stacked(members))
    return {}


def arrays_of(samples: Mapping[str, Tensor]) -> dict[str, Array]:
    """Return per-sample results as arrays."""
    return {name: values.numpy() for name, values in samples.items()}


def is_of_classes(samples: Mapping[str, Any]) -> bool:
    """Return whether per-sample results are those of classifiers."""
    return {"label", "correct"} <= set(samples)


def _is_of_boxes(samples: Mapping[str, Any]) -> bool:
    return {"outcomes", "ious", "num_objects"} <= set(samples)


def _is_of_points(samples: Mapping[str, Any]) -> bool:
    return "errors_px" in samples


def _stacked(members: Sequence[Evaluated]) -> Floats:
    """Return the predictions of members, (K, N, ...) float64."""
    return np.stack([_predictions(member) for member in members])


def _predictions(found: Evaluated) -> Floats:
    assert found.predictions is not None
    return found.predictions.double().numpy()


def _labels(found: Evaluated) -> Array:
    return found.samples["label"].long().numpy()


def _class_calibration(found: Evaluated, *, temperature: float | None) -> dict[str, Any]:
    """Return the calibration of class probabilities, also after scaling by a temperature."""
    probabilities, labels = _predictions(found), _labels(found)
    measures = _class_measures(probabilities, labels)
    if temperature is not None:
        logits = np.log(np.maximum(probabilities, _SMALLEST))
        scaled = scaled_probabilities(logits=logits, temperature=temperature)
        of_scaled = _class_measures(scaled, labels)
        measures |= {"temperature": temperature}
        measures |= {f"scaled_{name}": of_scaled[name] for name in ("nll", "brier", "ece")}
    confidence, correct = confidence_and_correct(probabilities=probabilities, labels=labels)
    bins = equal_mass_bins(confidence, num_bins=NUM_BINS)
    parts = decompose_brier(confidence=confidence, correct=correct, bins=bins)
    return {
        **measures,
        "brier_parts": asdict(parts),
        "reliability": _table(confidence, correct, bins),
    }


def _best_temperature(found: Evaluated) -> float:
    logits = np.log(np.maximum(_predictions(found), _SMALLEST))
    return fit_temperature(logits=logits, labels=_labels(found))


def _class_measures(probabilities: Array, labels: Array) -> dict[str, float]:
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


def _table(confidence: Array, correct: Array, bins: Array) -> dict[str, list[float]]:
    """Return a reliability table as plain lists."""
    table = asdict(reliability_table(confidence=confidence, correct=correct, bins=bins))
    return {name: column.tolist() for name, column in table.items()}


def _box_calibration(samples: Arrays, *, thresholds: Floats | None) -> dict[str, Any]:
    """Return the calibration of detections, those above the score threshold of each class (C,).

    Without thresholds, detections of low scores dominate.
    """
    found = _matched(samples)
    if thresholds is not None:
        found = found.above(thresholds)
    counted = found.select(~found.is_ignored)
    by_class = localisation_aware_calibration_errors(found, num_bins=NUM_BOX_BINS)
    measures: dict[str, Any] = {
        "d_ece": detection_calibration_error(found, num_bins=NUM_BOX_BINS),
        "la_ece": mean_over_classes(by_class),
        "la_ace": mean_over_classes(localisation_aware_adaptive_errors(found)),
    }
    if len(counted.scores):
        bins = equal_width_bins(counted.scores, num_bins=NUM_BOX_BINS)
        measures["reliability"] = _table(counted.scores, counted.is_match, bins)
    points = operating_points(_matched(samples))
    measures |= {"lrp": mean_over_classes(points.lrp), "f1": mean_over_classes(points.f1)}
    return measures


def _matched(samples: Arrays) -> MatchedDetections:
    return MatchedDetections(
        scores=samples["scores"].astype(np.float64),
        labels=samples["labels"].astype(np.int64),
        ious=samples["ious"].astype(np.float64),
        is_ignored=samples["outcomes"] < 0,
        num_objects=samples["num_objects"].sum(axis=0),
        iou_threshold=MATCH_IOU,
    )


def _point_calibration(variances: Floats, errors: Floats, *, scale: float | None) -> dict[str, Any]:
    """Return how well variances of members predict errors of the ensemble, in pixels.

    A scale of the variances, fitted to other samples, adds the error after scaling.
    """
    squares = {"variances": variances, "squared_errors": errors**2}
    measures = {
        "ence": expected_normalised_calibration_error(**squares, num_bins=NUM_BINS),
        "variance_scale": variance_scale(**squares),
        "rank_correlation": rank_correlation(**squares),
        "ause": sparsification(variances=variances, errors=errors).area,
    }
    if scale is not None and np.isfinite(scale):
        scaled = squares | {"variances": scale * variances}
        measures["scaled_ence"] = expected_normalised_calibration_error(**scaled, num_bins=NUM_BINS)
    return measures


def _known_spread(members: Sequence[Evaluated], found: Evaluated) -> tuple[Floats, Floats]:
    """Return variances of members and errors of the ensemble, of known points, flat."""
    variances = _stacked(members).var(axis=0, ddof=1).sum(axis=-1)
    errors = found.samples["errors_px"].double().numpy()
    is_known = np.isfinite(errors) & np.isfinite(variances)
    return variances[is_known], errors[is_known]


def _class_diversity(members: Sequence[Arrays], probabilities: Floats) -> dict[str, Any]:
    """Return the diversity of classifiers with probabilities (K, N, C)."""
    correct = np.stack([samples["correct"] for samples in members])
    pairs = asdict(pairwise_diversity(correct))
    logits = np.log(np.maximum(probabilities, _SMALLEST))
    split = nll_ambiguity(logits=logits, labels=members[0]["label"].astype(np.int64))
    return {
        **{name: mean_over_pairs(matrix) for name, matrix in pairs.items()},
        "oracle_error": oracle_error(correct),
        "ambiguity": split.ambiguity,
        "pairs": {name: matrix.tolist() for name, matrix in pairs.items()},
    }


def _point_diversity(members: Floats) -> dict[str, Any]:
    """Return the mean distance of the points of two members, in pixels, of (K, N, P, 2)."""
    distances = [
        [float(np.nanmean(np.linalg.norm(one - other, axis=-1))) for other in members]
        for one in members
    ]
    return {
        "distance_px": mean_over_pairs(np.array(distances)),
        "pairs": {"distance_px": distances},
    }
