"""Average precision at any IoU thresholds, from overlaps of detections with objects.

No boxes are seen here: only the IoU tells upright from oriented ones.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Matcher = Literal["correct", "legacy"]
Rule = Literal["continuous", "eleven_point"]
LEGACY_IOU = 0.2  # above which the legacy matcher assigns an object


class Overlaps(NamedTuple):
    """Detections (D,) and objects (G,) of an image.

    Attributes:
        ious: (D, G) float64; with a crowd, the share of the detection that is inside it.
        scores: (D,) float32.
        labels: (D,) int64.
        object_labels: (G,) int64.
        is_crowd: (G,) bool; crowds are never missed, and what is inside one is not wrong.
    """

    ious: Floats
    scores: NDArray[np.float32]
    labels: Ints
    object_labels: Ints
    is_crowd: Bools


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
    images: Sequence[Overlaps],
    *,
    iou_thresholds: Sequence[float],
    matcher: Matcher,
    num_classes: int,
) -> Outcomes:
    """Match detections with objects of their class, in each image.

    With the correct matcher, as with COCO's, detections choose by falling score, at each threshold
    anew: of the objects that are free, that of the highest IoU, if it reaches the threshold. What
    finds none but has that share inside a crowd of its class does not count.

    The legacy matcher is that of `obb_anns` of DeepScores, for comparison with its numbers. It has
    two faults, both of which lower the average precision. Detections choose by rising score, so a
    poor one takes the object of a better one; and scores are compared as text, where 9e-05 is above
    0.8. An object is assigned once for all thresholds, at any IoU above 0.2, and is then lost to a
    detection that would reach the threshold.
    """
    least = LEGACY_IOU if matcher == "legacy" else min(iou_thresholds)
    scores = _joined([image.scores for image in images], np.float32)
    order = np.argsort(-scores, kind="stable")
    choice = np.argsort(scores.astype(str), kind="stable") if matcher == "legacy" else order
    pairs = _pairs(images, least=least, choice=choice)
    if matcher == "legacy":
        assigned = _assigned_ious(pairs.of(pairs.ious > least), len(scores))
        found = [assigned >= threshold for threshold in iou_thresholds]
    else:
        at_least = [pairs.of(pairs.ious >= threshold) for threshold in iou_thresholds]
        found = [_assigned_ious(each, len(scores)) > 0 for each in at_least]
    is_right = np.empty((len(found), len(scores)), dtype=np.bool_)
    is_right[:, choice] = found
    inside = _joined([_inside_crowds(image) for image in images], np.float64)
    is_wrong = ~is_right & (inside < np.array(iou_thresholds)[:, None])
    objects = _joined([image.object_labels[~image.is_crowd] for image in images], np.int64)
    return Outcomes(
        labels=_joined([image.labels for image in images], np.int64)[order],
        is_right=is_right[:, order],
        is_counted=(is_right | is_wrong)[:, order],
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

    def of(self, chosen: Bools) -> "_Pairs":
        return _Pairs(*(column[chosen] for column in self))


def _pairs(images: Sequence[Overlaps], *, least: float, choice: Ints) -> _Pairs:
    """Return the pairs of one class with an IoU of at least `least`, without crowds.

    `choice` holds the detections of all images in the order in which they choose.
    """
    columns: list[tuple[Ints, Ints, Floats]] = []
    num_detections = num_objects = 0
    for image in images:
        is_pair = (image.ious >= least) & (image.labels[:, None] == image.object_labels)
        rows, places = (is_pair & ~image.is_crowd).nonzero()
        columns.append((rows + num_detections, places + num_objects, image.ious[rows, places]))
        num_detections += len(image.labels)
        num_objects += len(image.object_labels)
    types = (np.int64, np.int64, np.float64)
    found = zip(*columns, strict=True) if columns else [[], [], []]
    detections, objects, ious = (
        _joined(each, dtype) for each, dtype in zip(found, types, strict=True)
    )
    ranks = np.empty(num_detections, dtype=np.int64)
    ranks[choice] = np.arange(num_detections)
    order = np.lexsort((-objects, -ious, ranks[detections]))  # of equal IoUs the last, as COCO
    return _Pairs(ranks[detections], objects, ious).of(order)


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


def _inside_crowds(image: Overlaps) -> Floats:
    """Return the largest share of each detection that is inside a crowd of its class, (D,)."""
    is_inside = image.is_crowd & (image.labels[:, None] == image.object_labels)
    shares: Floats = np.where(is_inside, image.ious, 0.0).max(axis=1, initial=0.0)
    return shares


def _joined(parts: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=dtype), *parts]).astype(dtype)
