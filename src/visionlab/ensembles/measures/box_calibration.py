"""Calibration of detection scores.

Cut detections at an operating point first, since otherwise thousands of low scores dominate.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from visionlab.ensembles.inputs import (
    Array,
    Bools,
    Floats,
    check_count,
    check_shape,
    check_within,
    class_labels,
    finite_vectors,
)
from visionlab.ensembles.measures.calibration import equal_width_bins, expected_calibration_error

_IOU_TOLERANCE = 1e-6  # of an IoU in float32


@dataclass(frozen=True, kw_only=True)
class MatchedDetections:
    """Detections of a split, matched with its objects; there may be none.

    A detection is a true positive if it has a match. Since matching goes from high to low scores,
    leaving out low scores changes no other match.

    Attributes:
        scores: in [0, 1], (D,).
        labels: class in [0, C), (D,).
        ious: IoU with the object of the match, 0 without a match, (D,).
        is_ignored: whether the detection counts neither as right nor as wrong, (D,) bool.
        num_objects: objects per class that are not ignored, (C,).
        iou_threshold: least IoU of a match, in [0, 1); for 0, any overlap.

    Raises:
        ValueError: an attribute is out of range or of another shape, or a class has more matches
            than objects.
    """

    scores: Array
    labels: Array
    ious: Array
    is_ignored: Array
    num_objects: Array
    iou_threshold: float

    def __post_init__(self) -> None:
        check_within("[0, 1)", iou_threshold=np.array([self.iou_threshold]))
        (num_objects,) = finite_vectors(num_objects=self.num_objects)
        check_within("[0, inf)", num_objects=num_objects)
        class_labels(self.labels, (len(self.scores),), num_classes=len(num_objects))
        for name in ("scores", "ious", "is_ignored"):
            check_shape(name, getattr(self, name), self.labels.shape)
        if len(self.scores):
            finite_vectors(scores=self.scores, ious=self.ious)
        check_within("[0, 1]", scores=self.scores, ious=self.ious)
        self._check_matches()

    def _check_matches(self) -> None:
        is_below = self.is_match & (self.ious < self.iou_threshold - _IOU_TOLERANCE)
        if is_below.any():
            rule = f"0 or >= iou_threshold {self.iou_threshold:g}"
            raise ValueError(f"ious must be {rule}, got {self.ious[is_below][0]:g}")
        labels = self.labels[self.is_match & ~self.is_ignored]
        num_matches = np.bincount(labels, minlength=len(self.num_objects))
        if (is_more := num_matches > self.num_objects).any():
            label = int(is_more.argmax())
            rule = f">= the {num_matches[label]} matches of class {label}"
            raise ValueError(f"num_objects must be {rule}, got {self.num_objects[label]:g}")

    def select(self, rows: Array) -> Self:
        """Return some of the detections: `rows` is (D,) bool, or their indices."""
        return replace(
            self,
            scores=self.scores[rows],
            labels=self.labels[rows],
            ious=self.ious[rows],
            is_ignored=self.is_ignored[rows],
        )

    def of_class(self, label: int) -> Self:
        """Return the detections of a class that are not ignored."""
        return self.select((self.labels == label) & ~self.is_ignored)

    def above(self, thresholds: Array) -> Self:
        """Return the detections with at least the score threshold of their class.

        Args:
            thresholds: (C,); nan for a class of which no detection is kept.

        Raises:
            ValueError: there is not one threshold per class.
        """
        check_shape("thresholds", thresholds, (len(self.num_objects),))
        return self.select(self.scores >= thresholds[self.labels])

    @property
    def is_match(self) -> Bools:
        """Whether each detection is a true positive, (D,)."""
        return np.asarray(self.ious > 0)


def detection_calibration_error(detections: MatchedDetections, *, num_bins: int) -> float:
    """Return D-ECE: the mean over detections of |precision - mean score|, each over its bin.

    The detections of all classes are pooled (Küppers et al. 2020, arXiv 2004.13546, with bins of
    scores only). nan without detections.

    Raises:
        ValueError: `num_bins` is below 1.
    """
    counted = detections.select(~detections.is_ignored)
    return _binned_error(counted, counted.is_match, num_bins=num_bins)


def localisation_aware_calibration_errors(
    detections: MatchedDetections, *, num_bins: int
) -> Floats:
    """Return LaECE of each class, (C,); nan for classes without detections.

    The mean over detections of |mean score - precision x mean IoU of true positives|, each over its
    bin: a score should equal the IoU of a true positive and 0 otherwise (Oksuz et al. 2023, arXiv
    2307.00934, with 25 bins and matches from IoU 0.5; with matches from IoU 0, LaECE_0 of Kuzucu et
    al. 2024, arXiv 2405.20459). The reported number is `mean_over_classes`.

    Raises:
        ValueError: `num_bins` is below 1.
    """
    classes = [detections.of_class(label) for label in range(len(detections.num_objects))]
    return np.array([_binned_error(each, each.ious, num_bins=num_bins) for each in classes])


def localisation_aware_adaptive_errors(detections: MatchedDetections) -> Floats:
    """Return the mean |score - IoU| of each class, (C,); nan for classes without detections.

    IoU is 0 without a match. With matches from IoU 0 this is LaACE_0 (Kuzucu et al. 2024, arXiv
    2405.20459), which needs no bins.
    """
    classes = [detections.of_class(label) for label in range(len(detections.num_objects))]
    gaps = [np.abs(each.scores - each.ious) for each in classes]
    return np.array([gap.mean() if gap.size else np.nan for gap in gaps])


def mean_over_classes(values: Array) -> float:
    """Return the mean of the values that are not nan; nan if all are."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _binned_error(detections: MatchedDetections, outcomes: Array, *, num_bins: int) -> float:
    check_count("num_bins", num_bins, least=1)
    if not len(detections.scores):
        return float("nan")
    bins = equal_width_bins(detections.scores, num_bins=num_bins)
    return expected_calibration_error(confidence=detections.scores, correct=outcomes, bins=bins)
