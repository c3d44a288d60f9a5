"""Curves against the score threshold, LRP-optimal thresholds, isotonic fits."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matched_boxes import IOUS, NUM_CLASSES, SCORES, by_hand, matched_detections

from visionlab.ensembles.measures.box_calibration import MatchedDetections
from visionlab.ensembles.measures.operating_points import (
    fit_isotonic,
    operating_points,
    threshold_curves,
)

Array = np.ndarray[Any, Any]


def naive_point(
    detections: MatchedDetections, label: int, threshold: float
) -> tuple[float, float, float, float]:
    """Return precision, recall, F1 and LRP of the detections from a threshold up."""
    num_objects, matches, others, loss = detections.num_objects[label], 0, 0, 0.0
    for row in range(len(detections.scores)):
        is_kept = detections.labels[row] == label and not detections.is_ignored[row]
        if is_kept and detections.scores[row] >= threshold:
            if detections.ious[row] > 0:
                matches += 1
                loss += (1 - detections.ious[row]) / (1 - detections.iou_threshold)
            else:
                others += 1
    missed = num_objects - matches
    return (
        matches / (matches + others),
        matches / num_objects if num_objects else math.nan,
        2 * matches / (2 * matches + others + missed),
        (loss + others + missed) / (matches + others + missed),
    )


def test_numbers_checked_by_hand() -> None:
    curves = threshold_curves(by_hand(), label=0)
    assert curves.thresholds.tolist() == SCORES.tolist()
    assert curves.precision == pytest.approx([1, 1, 2 / 3, 3 / 4, 3 / 5, 4 / 6, 4 / 7])
    assert curves.recall == pytest.approx([0.2, 0.4, 0.4, 0.6, 0.6, 0.8, 0.8])
    assert curves.f1 == pytest.approx([2 / 6, 4 / 7, 4 / 8, 6 / 9, 6 / 10, 8 / 11, 8 / 12])
    # losses of the matches: 0.2, 0.4, 0.6 and 0.9
    expected = [4.2 / 5, 3.6 / 5, 4.6 / 6, 4.2 / 6, 5.2 / 7, 5.1 / 7, 6.1 / 8]
    assert curves.lrp == pytest.approx(expected)
    points = operating_points(by_hand())
    assert points.thresholds.tolist() == [0.6]
    assert points.lrp == pytest.approx([0.7])
    assert points.precision == pytest.approx([0.75])
    assert points.recall == pytest.approx([0.6])
    assert points.f1 == pytest.approx([2 / 3])


@given(detections=matched_detections())
def test_curves_equal_a_loop(detections: MatchedDetections) -> None:
    for label in range(NUM_CLASSES):
        curves = threshold_curves(detections, label=label)
        kept = (detections.labels == label) & ~detections.is_ignored
        expected = sorted(set(detections.scores[kept].tolist()), reverse=True)
        assert curves.thresholds.tolist() == expected
        rows = zip(curves.precision, curves.recall, curves.f1, curves.lrp, strict=True)
        for threshold, row in zip(curves.thresholds, rows, strict=True):
            naive = naive_point(detections, label, threshold)
            assert row == pytest.approx(naive, abs=1e-12, nan_ok=True)


@given(detections=matched_detections())
def test_no_threshold_is_better_than_the_operating_point(detections: MatchedDetections) -> None:
    points = operating_points(detections)
    for label, num_objects in enumerate(detections.num_objects):
        curves = threshold_curves(detections, label=label)
        if not num_objects or not len(curves.lrp):
            assert math.isnan(points.thresholds[label])
            continue
        assert points.lrp[label] == curves.lrp.min()
        better = curves.thresholds > points.thresholds[label]
        assert (curves.lrp[better] > points.lrp[label]).all()
        assert 0 <= points.lrp[label] <= 1


@given(detections=matched_detections())
def test_detections_above_the_operating_point_have_its_lrp(detections: MatchedDetections) -> None:
    points = operating_points(detections)
    kept = detections.above(points.thresholds)
    for label in range(NUM_CLASSES):
        if not math.isnan(points.thresholds[label]):
            lowest = threshold_curves(kept, label=label).lrp[-1]
            assert lowest == pytest.approx(points.lrp[label], abs=1e-12)


def test_perfect_detections_have_no_error() -> None:
    points = operating_points(by_hand(ious=np.ones(7), num_objects=np.array([7])))
    assert points.lrp.tolist() == [0.0]
    assert points.thresholds.tolist() == [0.2]
    assert points.f1.tolist() == [1.0]


def test_classes_without_objects_or_detections_have_no_operating_point() -> None:
    detections = by_hand(labels=np.array([0, 0, 1, 0, 1, 0, 1]), num_objects=np.array([5, 0, 2]))
    points = operating_points(detections)
    assert np.isnan(points.thresholds).tolist() == [False, True, True]
    assert np.isnan(points.f1).tolist() == [False, True, True]
    curves = threshold_curves(detections, label=1)
    assert curves.lrp.tolist() == [1.0, 1.0, 1.0]
    assert np.isnan(curves.recall).all()
    assert len(threshold_curves(detections, label=2).lrp) == 0


@pytest.mark.parametrize("label", [-1, 1])
def test_a_class_that_is_missing_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match=rf"^label must be in \[0, 1\), got {label}$"):
        threshold_curves(by_hand(), label=label)


def naive_isotonic(scores: Array, ious: Array) -> list[float]:
    """Return the isotonic fit at each score by its max-min formula; scores are distinct."""
    sorted_ious = ious[np.argsort(scores)]
    count = len(ious)
    fitted = [
        max(min(sorted_ious[a : b + 1].mean() for b in range(i, count)) for a in range(i + 1))
        for i in range(count)
    ]
    return [fitted[rank] for rank in np.argsort(np.argsort(scores))]


@given(count=st.integers(1, 12), seed=st.integers(0, 999))
def test_the_isotonic_fit_equals_the_max_min_formula(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores, ious = generator.permutation(count) / count, generator.random(count)
    found = fit_isotonic(scores=scores, ious=ious).predict(scores)
    assert found == pytest.approx(naive_isotonic(scores, ious), abs=1e-9)


def test_the_isotonic_fit_checked_by_eye() -> None:
    fit = fit_isotonic(scores=np.array([0.2, 0.4, 0.6, 0.6]), ious=np.array([0.3, 0.1, 0.8, 0.6]))
    scores = np.array([0.0, 0.2, 0.4, 0.5, 0.6, 1.0])
    assert fit.predict(scores) == pytest.approx([0.2, 0.2, 0.2, 0.45, 0.7, 0.7])


def test_the_isotonic_fit_lowers_the_squared_error_and_stays_on_iou() -> None:
    before = ((SCORES - IOUS) ** 2).mean()
    fitted = fit_isotonic(scores=SCORES, ious=IOUS).predict(SCORES)
    assert ((fitted - IOUS) ** 2).mean() < before
    assert (np.diff(fitted) <= 0).all()  # scores fall
    assert fitted.mean() == pytest.approx(IOUS.mean())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.array([])}, "scores must have at least one value, got none"),
        ({"scores": SCORES * np.nan}, "scores must be finite, got nan"),
        ({"ious": IOUS[:6]}, r"ious must have shape \(7,\), got \(6,\)"),
        ({"ious": 2 * IOUS}, r"ious must be in \[0, 1\], got 1\.8"),
    ],
)
def test_bad_fits_are_refused(changes: dict[str, Array], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        fit_isotonic(**{"scores": SCORES, "ious": IOUS} | changes)
