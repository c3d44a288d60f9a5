"""Calibration of detectors."""

from dataclasses import replace
from typing import Any

import numpy as np

from visionlab.ensembles.measures.box_calibration import (
    MatchedDetections,
    detection_calibration_error,
    localisation_aware_adaptive_errors,
    localisation_aware_calibration_errors,
    mean_over_classes,
)
from visionlab.ensembles.measures.calibration import equal_width_bins
from visionlab.ensembles.measures.operating_points import fit_isotonic, operating_points
from visionlab.ensembles.prediction import Evaluated
from visionlab.ensembles.results.classes import reliability_columns

NUM_BINS = 25  # Oksuz et al. 2023, arXiv 2307.00934
MATCH_IOU = 0.5


def is_of_boxes(found: Evaluated) -> bool:
    """Return whether a result is that of a detector."""
    return {"outcomes", "ious", "num_objects"} <= set(found.samples)


def box_calibration(found: Evaluated, on_val: Evaluated | None) -> dict[str, Any]:
    """Return the calibration of detections.

    Only detections above the score threshold of their class count; without thresholds, those of
    low scores dominate. `isotonic_*` are errors after scores became the IoUs that they predict.

    Args:
        found: what is measured.
        on_val: the same on validation samples, on which the thresholds have the least LRP, and to
            whose IoUs the scores are fitted; None without any.

    Raises:
        ValueError: predictions are not finite.
    """
    every = counted = _matched(found)
    isotonic: dict[str, float] = {}
    if on_val is not None:
        others = _matched(on_val)
        thresholds = operating_points(others).thresholds
        counted = every.above(thresholds)
        isotonic = _after_isotonic(counted, others.above(thresholds))
    measures: dict[str, Any] = {
        "d_ece": detection_calibration_error(counted, num_bins=NUM_BINS),
        **_localisation_aware(counted),
        **isotonic,
    }
    shown = counted.select(~counted.is_ignored)
    if len(shown.scores):
        bins = equal_width_bins(shown.scores, num_bins=NUM_BINS)
        measures["reliability"] = reliability_columns(shown.scores, shown.is_match, bins)
    points = operating_points(every)
    measures |= {"lrp": mean_over_classes(points.lrp), "f1": mean_over_classes(points.f1)}
    return measures


def _localisation_aware(detections: MatchedDetections) -> dict[str, float]:
    by_class = localisation_aware_calibration_errors(detections, num_bins=NUM_BINS)
    return {
        "la_ece": mean_over_classes(by_class),
        "la_ace": mean_over_classes(localisation_aware_adaptive_errors(detections)),
    }


def _after_isotonic(detections: MatchedDetections, on_val: MatchedDetections) -> dict[str, float]:
    """Return the errors of scores that were fitted to IoUs on validation samples, if it has any."""
    fitted = on_val.select(~on_val.is_ignored)
    if not len(fitted.scores):
        return {}
    fit = fit_isotonic(scores=fitted.scores, ious=fitted.ious)
    errors = _localisation_aware(replace(detections, scores=fit.predict(detections.scores)))
    return {f"isotonic_{name}": error for name, error in errors.items()}


def _matched(found: Evaluated) -> MatchedDetections:
    samples = {name: values.numpy() for name, values in found.samples.items()}
    return MatchedDetections(
        scores=samples["scores"].astype(np.float64),
        labels=samples["labels"].astype(np.int64),
        ious=samples["ious"].astype(np.float64),
        is_ignored=samples["outcomes"] < 0,
        num_objects=samples["num_objects"].sum(axis=0),
        iou_threshold=MATCH_IOU,
    )
