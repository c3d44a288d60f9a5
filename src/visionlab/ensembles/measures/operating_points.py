"""Score thresholds of detectors, and localisation quality predicted from scores.

LRP is the localisation recall precision error (Oksuz et al. 2018, arXiv 1807.01696; 2021, arXiv
2011.10772) of the detections of one class that reach a score threshold:

    LRP = (sum over true positives of (1 - IoU) / (1 - t) + FP + FN) / (TP + FP + FN)

where t is the least IoU of a match. It is in [0, 1]; 0 is best, 1 is that of no detection. Its
minimum over thresholds is the optimal LRP, whose threshold is the operating point.
"""

from dataclasses import dataclass

import numpy as np

from visionlab.ensembles.inputs import Array, Floats, check_within, finite_vectors
from visionlab.ensembles.measures.box_calibration import MatchedDetections


@dataclass(frozen=True, kw_only=True)
class ThresholdCurves:
    """Quality of a class's detections from each score threshold up; all are (T,).

    Attributes:
        thresholds: the distinct scores, from high to low.
        precision: TP / (TP + FP).
        recall: TP / objects; nan for a class without objects.
        f1: 2 TP / (TP + FP + objects).
        lrp: localisation recall precision error.
    """

    thresholds: Floats
    precision: Floats
    recall: Floats
    f1: Floats
    lrp: Floats


def threshold_curves(detections: MatchedDetections, *, label: int) -> ThresholdCurves:
    """Return precision, recall, F1 and LRP of a class against the score threshold.

    Raises:
        ValueError: there is no such class.
    """
    check_within(f"[0, {len(detections.num_objects)})", label=np.array([label]))
    found = detections.of_class(label)
    order = np.argsort(-found.scores, kind="stable")
    scores, is_match = found.scores[order].astype(np.float64), found.is_match[order]
    num_objects = float(found.num_objects[label])
    loss = np.where(is_match, (1.0 - found.ious[order]) / (1.0 - found.iou_threshold), 0.0)
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], len(scores) > 0))  # of equal scores
    count, matches, losses = last + 1.0, np.cumsum(is_match)[last], np.cumsum(loss)[last]
    missed = num_objects - matches
    return ThresholdCurves(
        thresholds=scores[last],
        precision=matches / count,
        recall=matches / num_objects if num_objects else np.full(len(last), np.nan),
        f1=2.0 * matches / (count + num_objects),
        lrp=(losses + count - matches + missed) / (count + missed),
    )


@dataclass(frozen=True, kw_only=True)
class OperatingPoints:
    """LRP-optimal score threshold of each class; all are (C,).

    nan for a class without detections or without objects, where no threshold is better.

    Attributes:
        thresholds: the highest of the best thresholds.
        lrp: LRP at the threshold.
        precision: precision at the threshold.
        recall: recall at the threshold.
        f1: F1 at the threshold.
    """

    thresholds: Floats
    lrp: Floats
    precision: Floats
    recall: Floats
    f1: Floats


def operating_points(detections: MatchedDetections) -> OperatingPoints:
    """Return the LRP-optimal score threshold of each class; find it on validation samples."""
    columns = ("thresholds", "lrp", "precision", "recall", "f1")
    rows = np.full((len(detections.num_objects), len(columns)), np.nan)
    for label, num_objects in enumerate(detections.num_objects):
        curves = threshold_curves(detections, label=label)
        if num_objects and len(curves.lrp):
            best = int(np.argmin(curves.lrp))
            rows[label] = [getattr(curves, column)[best] for column in columns]
    return OperatingPoints(**dict(zip(columns, rows.T, strict=True)))


@dataclass(frozen=True, kw_only=True)
class IsotonicFit:
    """A non-decreasing map from scores to IoUs, linear between its knots.

    Attributes:
        scores: increasing, (M,).
        ious: non-decreasing, (M,).
    """

    scores: Floats
    ious: Floats

    def predict(self, scores: Array) -> Floats:
        """Return the calibrated scores, (D,); constant beyond the first and the last knot."""
        predicted: Floats = np.interp(scores, self.scores, self.ious)
        return predicted


def fit_isotonic(*, scores: Array, ious: Array) -> IsotonicFit:
    """Fit IoUs (0 without a match) to scores by isotonic least squares.

    The recommended calibrator of detectors (Kuzucu et al. 2024, arXiv 2405.20459); fit it on
    validation samples, on detections that are not ignored.

    Args:
        scores: (D,).
        ious: in [0, 1], (D,).

    Raises:
        ValueError: an array is empty, not finite, out of range, or of another length.
    """
    from sklearn.isotonic import IsotonicRegression  # takes long to import

    found, targets = finite_vectors(scores=scores, ious=ious)
    check_within("[0, 1]", ious=targets)
    fit = IsotonicRegression().fit(found, targets)
    return IsotonicFit(scores=fit.X_thresholds_, ious=fit.y_thresholds_)
