"""Average precision at any IoU thresholds, from overlaps of detections with objects.

No boxes are seen here: only the IoU tells upright from oriented ones.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Matcher = Literal["correct", "legacy"]
Rule = Literal["continuous", "eleven_point"]
LEGACY_IOU = 0.2  # above which the legacy matcher assigns an object


class Overlaps(NamedTuple):
    """Detections (D,) and objects (G,) of all images, and pairs (P,) of them that overlap.

    The two of a pair are of one image and class; any others need not be there.

    Attributes:
        scores: (D,) float32.
        labels: (D,) int64.
        object_labels: (G,) int64.
        is_crowd: (G,) bool; crowds are never missed, and what is inside one is not wrong.
        detections: (P,) int64, rows of detections.
        objects: (P,) int64, rows of objects.
        ious: (P,) float64; with a crowd, the share of the detection that is inside it.
    """

    scores: NDArray[np.float32]
    labels: Ints
    object_labels: Ints
    is_crowd: Bools
    detections: Ints
    objects: Ints
    ious: Floats


class Outcomes(NamedTuple):
    """Detections (M,) of a split, by falling score, at each of T IoU thresholds.

    Attributes:
        labels: (M,) int64.
        is_right: (T, M) bool.
        is_counted: (T, M) bool; a detection that is not is neither right nor wrong.
        num_objects: (C,) int64, of each class, without crowds.
    """

    labels: Ints
    is_right: Bools
    is_counted: Bools
    num_objects: Ints


def match(
    overlaps: Overlaps, *, iou_thresholds: Sequence[float], matcher: Matcher, num_classes: int
) -> Outcomes:
    """Match detections with objects of their image and class, at each of the thresholds.

    With the correct matcher, which is COCO's, detections choose by falling score, at each threshold
    anew: of the objects that are free, that of the highest IoU, if it reaches the threshold. What
    finds none, but has that share inside a crowd, does not count.

    The legacy matcher is that of `obb_anns` of DeepScores, for comparison with its numbers. It has
    two faults. Detections choose by rising score, so that poor ones take the objects of better
    ones; and scores are compared as text, for which 9e-05 is above 0.8. They choose once for all
    thresholds, any object above an IoU of 0.2, which a detection that would reach the threshold
    then cannot have.
    """
    order = np.argsort(-overlaps.scores, kind="stable")
    choosing = order
    if matcher == "legacy":
        choosing = np.argsort(overlaps.scores.astype(str), kind="stable")
    pairs = _pairs(overlaps, choosing)
    thresholds = np.array(iou_thresholds)[:, None]
    is_right = np.empty((len(thresholds), len(order)), dtype=np.bool_)
    if matcher == "legacy":
        assigned = _assigned_ious(pairs.of(pairs.ious > LEGACY_IOU), len(order))
        is_right[:, choosing] = assigned >= thresholds
    else:
        for row, threshold in enumerate(iou_thresholds):
            able = pairs.of(pairs.ious >= threshold)
            is_right[row, choosing] = _assigned_ious(able, len(order)) > 0
    is_ignored = _crowd_shares(overlaps) >= thresholds
    objects = overlaps.object_labels[~overlaps.is_crowd]
    return Outcomes(
        labels=overlaps.labels[order],
        is_right=is_right[:, order],
        is_counted=(is_right | ~is_ignored)[:, order],
        num_objects=np.bincount(objects, minlength=num_classes),
    )


def class_average_precision(outcomes: Outcomes, *, rule: Rule) -> Floats:
    """Return the average precision of each class at each threshold, (C, T).

    A class without objects has NaN, one with objects but without detections 0. The rule is the area
    under the curve of the highest precision at any higher recall (`continuous`), or the mean of
    that curve at 11 recalls from 0 to 1 (`eleven_point`, Pascal VOC 2007).
    """
    rows = [outcomes.labels == label for label in range(len(outcomes.num_objects))]
    return np.array(
        [
            _area(outcomes.is_right[:, row], outcomes.is_counted[:, row], num_objects, rule)
            for row, num_objects in zip(rows, outcomes.num_objects.tolist(), strict=True)
        ]
    )


def pooled_average_precision(outcomes: Outcomes, *, rule: Rule) -> Floats:
    """Return the average precision of the detections of all classes together, (T,).

    NaN if there are no objects; for the rules, see `class_average_precision`.
    """
    total = int(outcomes.num_objects.sum())
    return _area(outcomes.is_right, outcomes.is_counted, total, rule)


def _area(is_right: Bools, is_counted: Bools, num_objects: int, rule: Rule) -> Floats:
    """Return the average precision at each threshold, (T,), of detections (T, M)."""
    if not num_objects:
        return np.full(len(is_right), np.nan)
    num_right = is_right.cumsum(axis=1)
    precision = num_right / np.maximum(is_counted.cumsum(axis=1), 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    if rule == "continuous":
        area: Floats = (envelope * is_right).sum(axis=1) / num_objects
        return area
    # the number of detections before each recall k / 10 is reached, (T, 11)
    before = np.stack([(10 * num_right < k * num_objects).sum(axis=1) for k in range(11)], axis=1)
    never_reached = np.zeros((len(envelope), 1))
    curve = np.concatenate([envelope, never_reached], axis=1)
    mean: Floats = np.take_along_axis(curve, before, axis=1).mean(axis=1)
    return mean


class _Pairs(NamedTuple):
    """Detections and objects (P,) that may be matched.

    Detections are numbered in the order in which they choose; the pairs are in that order, those of
    one detection by falling IoU.
    """

    detections: Ints
    objects: Ints
    ious: Floats

    def of(self, chosen: Bools | Ints) -> "_Pairs":
        return _Pairs(self.detections[chosen], self.objects[chosen], self.ious[chosen])


def _pairs(overlaps: Overlaps, choosing: Ints) -> _Pairs:
    """Return the pairs without crowds; `choosing` are the detections in the order of choice."""
    ranks = np.empty(len(choosing), dtype=np.int64)
    ranks[choosing] = np.arange(len(choosing))
    pairs = _Pairs(ranks[overlaps.detections], overlaps.objects, overlaps.ious)
    pairs = pairs.of(~overlaps.is_crowd[overlaps.objects])
    order = np.lexsort((-pairs.objects, -pairs.ious, pairs.detections))
    return pairs.of(order)  # of equal IoUs the last object comes first, as in COCO


def _assigned_ious(pairs: _Pairs, num_detections: int) -> Floats:
    """Return the IoU of each detection with its object, 0 without one, in their order of choice.

    Each detection in turn takes the first object of its pairs that is free. Instead of one after
    another, all ask for their first object at once, the earliest of those that ask for the same one
    keeps it, and the others go on to their next, until nobody has to (Gale and Shapley 1962).
    """
    asked = np.searchsorted(pairs.detections, np.arange(num_detections), side="left")
    ends = np.searchsorted(pairs.detections, np.arange(num_detections), side="right")
    while True:
        asking = (asked < ends).nonzero()[0]
        objects = pairs.objects[asked[asking]]
        first = np.full(pairs.objects.max(initial=-1) + 1, num_detections)
        np.minimum.at(first, objects, asking)
        refused = asking[first[objects] != asking]
        if not len(refused):
            break
        asked[refused] += 1
    ious = np.zeros(num_detections)
    ious[asking] = pairs.ious[asked[asking]]
    return ious


def _crowd_shares(overlaps: Overlaps) -> Floats:
    """Return the largest share of each detection that is inside a crowd, (D,)."""
    shares = np.zeros(len(overlaps.scores))
    is_crowd = overlaps.is_crowd[overlaps.objects]
    np.maximum.at(shares, overlaps.detections[is_crowd], overlaps.ious[is_crowd])
    return shares
