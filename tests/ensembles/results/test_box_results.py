"""Calibration of detectors, from per-sample results."""

from collections.abc import Sequence

import pytest
import torch

from visionlab.ensembles.prediction import Evaluated
from visionlab.ensembles.results.boxes import box_calibration


def evaluated(
    scores: Sequence[float],
    ious: Sequence[float],
    *,
    labels: Sequence[int] | None = None,
    num_objects: Sequence[int] = (9,),
) -> Evaluated:
    """Return the result of a detector; detections with an IoU are matches."""
    found = torch.tensor(ious)
    samples = {
        "scores": torch.tensor(scores),
        "labels": torch.tensor([0] * len(scores) if labels is None else labels),
        "ious": found,
        "outcomes": (found > 0).to(torch.int8),
        "num_objects": torch.tensor([num_objects]),
    }
    return Evaluated(metrics={}, samples=samples, predictions=None)


def test_scores_are_fitted_to_the_ious_of_validation_samples() -> None:
    # no match below 0.3; above, the higher the score, the higher the IoU
    val = evaluated([0.95, 0.85, 0.6, 0.2], [0.75, 0.7, 0.55, 0.0], num_objects=[3])
    measures = box_calibration(evaluated([0.9, 0.6, 0.1], [0.725, 0.5, 0.0]), val)
    assert measures["la_ace"] == pytest.approx((0.175 + 0.1) / 2)
    # halfway between two knots 0.725, and 0.55 where 0.5 is right
    assert measures["isotonic_la_ace"] == pytest.approx(0.05 / 2, abs=1e-6)
    assert measures["isotonic_la_ece"] == pytest.approx(
        0.05 / 2, abs=1e-6
    )  # bins of one detection each


def test_a_perfect_fit_has_no_error() -> None:
    found = evaluated([0.9, 0.7, 0.65], [0.8, 0.7, 0.55])
    measures = box_calibration(found, found)
    assert measures["la_ace"] > 0.05
    assert measures["isotonic_la_ace"] == pytest.approx(0.0, abs=1e-6)


def test_detections_below_the_threshold_of_their_class_are_not_fitted() -> None:
    # class 0 starts at 0.9, and class 1 at 0.6
    val = evaluated(
        [0.9, 0.61, 0.61, 0.61, 0.6],
        [0.8, 0.0, 0.0, 0.0, 0.55],
        labels=[0, 0, 0, 0, 1],
        num_objects=[1, 1],
    )
    found = evaluated([0.9, 0.6], [0.8, 0.55], labels=[0, 1], num_objects=[1, 1])
    assert box_calibration(found, val)["isotonic_la_ace"] == pytest.approx(0.0, abs=1e-6)


def test_nothing_is_fitted_without_detections_of_validation_samples() -> None:
    found = evaluated([0.9], [0.8])
    empty = evaluated([], [])
    for on_val in (None, empty):
        assert not [name for name in box_calibration(found, on_val) if "isotonic" in name]
