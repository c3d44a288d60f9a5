"""Calibration errors of detections."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matched_boxes import IOUS, NUM_CLASSES, SCORES, by_hand, matched_detections

from visionlab.ensembles.measures.box_calibration import (
    MatchedDetections,
    detection_calibration_error,
    localisation_aware_adaptive_errors,
    localisation_aware_calibration_errors,
    mean_over_classes,
)


def naive_error(rows: list[tuple[float, float]], num_bins: int) -> float:
    """Return the binned error of pairs of score and outcome."""
    total = 0.0
    for number in range(num_bins):
        low, high = number / num_bins, (number + 1) / num_bins
        inside = [
            row
            for row in rows
            if low + 1e-9 < row[0] <= high + 1e-9 or (number == 0 and row[0] == 0)
        ]
        total += abs(sum(score - outcome for score, outcome in inside))
    return total / len(rows) if rows else math.nan


def rows_of(detections: MatchedDetections, label: int) -> list[tuple[float, float]]:
    columns = (detections.scores, detections.ious, detections.labels, detections.is_ignored)
    found = zip(*columns, strict=True)
    return [(score, iou) for score, iou, its, ignored in found if its == label and not ignored]


def test_numbers_checked_by_hand() -> None:
    detections = by_hand()
    assert detection_calibration_error(detections, num_bins=5) == pytest.approx(0.242857, abs=5e-7)
    (error,) = localisation_aware_calibration_errors(detections, num_bins=5)
    assert error == pytest.approx(0.235714, abs=5e-7)
    (error,) = localisation_aware_adaptive_errors(detections)
    assert error == pytest.approx(0.264286, abs=5e-7)


@given(detections=matched_detections(), num_bins=st.integers(1, 25))
def test_errors_equal_a_loop(detections: MatchedDetections, num_bins: int) -> None:
    by_class = [rows_of(detections, label) for label in range(NUM_CLASSES)]
    expected = [naive_error(rows, num_bins) for rows in by_class]
    found = localisation_aware_calibration_errors(detections, num_bins=num_bins)
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)
    pooled = [(score, float(iou > 0)) for rows in by_class for score, iou in rows]
    found = detection_calibration_error(detections, num_bins=num_bins)
    assert found == pytest.approx(naive_error(pooled, num_bins), abs=1e-12, nan_ok=True)
    absolute = [np.mean([abs(s - i) for s, i in rows]) if rows else math.nan for rows in by_class]
    found = localisation_aware_adaptive_errors(detections)
    assert found == pytest.approx(absolute, abs=1e-12, nan_ok=True)


@given(detections=matched_detections(), seed=st.integers(0, 99))
def test_order_of_detections_does_not_matter(detections: MatchedDetections, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(detections.scores))
    other = detections.select(order)
    for measure in (localisation_aware_calibration_errors, detection_calibration_error):
        expected = measure(detections, num_bins=5)
        assert measure(other, num_bins=5) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_scores_that_are_ious_have_no_localisation_error() -> None:
    detections = by_hand(scores=IOUS)
    assert localisation_aware_calibration_errors(detections, num_bins=25) == pytest.approx(
        [0.0], abs=1e-15
    )
    assert localisation_aware_adaptive_errors(detections).tolist() == [0.0]
    assert detection_calibration_error(detections, num_bins=25) > 0.1


def test_ignored_detections_do_not_count() -> None:
    is_ignored = SCORES < 0.7
    cut = by_hand().select(~is_ignored)
    ignoring = by_hand(is_ignored=is_ignored)
    for measure in (localisation_aware_calibration_errors, detection_calibration_error):
        assert measure(ignoring, num_bins=5) == measure(cut, num_bins=5)
    absolute = localisation_aware_adaptive_errors(ignoring)
    assert absolute == localisation_aware_adaptive_errors(cut)


def test_detections_above_the_thresholds_of_their_classes() -> None:
    labels = np.array([0, 1, 0, 1, 0, 1, 2])
    detections = by_hand(labels=labels, num_objects=np.array([5, 5, 5]))
    kept = detections.above(np.array([0.75, 0.7, math.nan]))
    assert kept.scores.tolist() == [0.9, 0.8, 0.75]
    assert kept.labels.tolist() == [0, 1, 0]
    assert kept.num_objects.tolist() == [5, 5, 5]
    with pytest.raises(ValueError, match=r"^thresholds must have shape \(3,\), got \(2,\)$"):
        detections.above(np.array([0.5, 0.5]))


def test_without_detections_errors_are_undefined() -> None:
    detections = by_hand().select(np.zeros(7, dtype=bool))
    assert math.isnan(detection_calibration_error(detections, num_bins=5))
    assert np.isnan(localisation_aware_calibration_errors(detections, num_bins=5)).tolist() == [
        True
    ]
    assert np.isnan(localisation_aware_adaptive_errors(detections)).tolist() == [True]


def test_the_mean_is_over_classes_with_detections() -> None:
    assert mean_over_classes(np.array([0.5, math.nan, 1.0])) == 0.75
    assert math.isnan(mean_over_classes(np.array([math.nan])))


def test_a_rounded_iou_at_the_threshold_is_a_match() -> None:
    iou = float(np.float32(0.7))
    assert iou < 0.7
    detections = by_hand(ious=np.full(7, iou), num_objects=np.array([7]), iou_threshold=0.7)
    assert detections.is_match.all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": SCORES * np.nan}, "scores must be finite, got nan"),
        ({"scores": 2 * SCORES}, r"scores must be in \[0, 1\], got 1\.8"),
        ({"scores": SCORES[:6]}, r"labels must have shape \(6,\), got \(7,\)"),
        ({"ious": IOUS[:6]}, r"ious must have shape \(7,\), got \(6,\)"),
        ({"ious": -IOUS}, r"ious must be in \[0, 1\], got -0\.9"),
        ({"is_ignored": IOUS[:6] > 0}, r"is_ignored must have shape \(7,\), got \(6,\)"),
        ({"labels": np.full(7, 1)}, r"labels must be in \[0, 1\), got 1"),
        ({"labels": np.zeros(7)}, "labels must be whole numbers, got float64"),
        ({"iou_threshold": 0.6}, r"ious must be 0 or >= iou_threshold 0\.6, got 0\.55"),
        ({"iou_threshold": 1.0}, r"iou_threshold must be in \[0, 1\), got 1"),
        ({"num_objects": np.array([3])}, "num_objects must be >= the 4 matches of .* 0, got 3"),
        ({"num_objects": np.array([-1])}, r"num_objects must be in \[0, inf\), got -1"),
        ({"num_objects": np.array([])}, "num_objects must have at least one value, got none"),
    ],
)
def test_bad_detections_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        by_hand(**changes)


def test_bad_bins_are_refused() -> None:
    for measure in (localisation_aware_calibration_errors, detection_calibration_error):
        with pytest.raises(ValueError, match=r"^num_bins must be >= 1, got 0$"):
            measure(by_hand(), num_bins=0)
