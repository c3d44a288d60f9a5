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
Matching = Literal["coco", "dota", "legacy"]
Area = Literal["continuous", "11_point", "101_point"]
LEGACY_IOU = 0.2  # above which the legacy rule gives an object away


class Overlaps(NamedTuple):
    """Detections (D,) and objects (G,) of all images, and pairs (P,) of them that overlap.

    The two of a pair are of one image and class; any others need not be there.

    Attributes:
        scores: (D,) float32.
        labels: (D,) int64.
        object_labels: (G,) int64.
        is_crowd: (G,) bool, crowds and difficult objects, which are neither found nor missed.
        detections: (P,) int64, rows of detections.
        objects: (P,) int64, rows of objects.
        ious: (P,) float64.
        shares: (P,) float64, of the area of the detection, inside the object.
    """

    scores: NDArray[np.float32]
    labels: Ints
    object_labels: Ints
    is_crowd: Bools
    detections: Ints
    objects: Ints
    ious: Floats
    shares: Floats


class Outcomes(NamedTuple):
    """Detections (M,) of a split, by falling score, at each of T IoU thresholds.

    Attributes:
        rows: (M,) int64, of the detections in `Overlaps`.
        labels: (M,) int64.
        ious: (T, M) float64, with the object of a detection that is right, otherwise 0.
        is_counted: (T, M) bool; a detection that is not is neither right nor wrong.
        num_objects: (C,) int64, of each class, without crowds.
    """

    rows: Ints
    labels: Ints
    ious: Floats
    is_counted: Bools
    num_objects: Ints

    @property
    def is_right(self) -> Bools:
        """Which detections have found an object, (T, M)."""
        return self.ious > 0


def match(
    overlaps: Overlaps, *, iou_thresholds: Sequence[float], matching: Matching, num_classes: int
) -> Outcomes:
    """Match detections with objects of their image and class, at each of the thresholds.

    `coco`: detections choose by falling score, at each threshold anew: of the objects that are
    free, that of the highest IoU, if it reaches the threshold. What finds none, but has that share
    inside a crowd, does not count.

    `dota`, as in task 1 of DOTA: each detection stands for its object of the highest IoU and has no
    second choice. It is right if the IoU is above the threshold and no better detection stands for
    the object; it does not count if the object is difficult.

    `legacy` is the rule of `obb_anns` of DeepScores, for comparison with its numbers. It has two
    faults. Detections choose by rising score, so that poor ones take the objects of better ones;
    and scores are compared as text, for which 9e-05 is above 0.8. They choose once for all
    thresholds, any object above an IoU of 0.2, which a detection that would reach the threshold
    then cannot have. Crowds, which DeepScores lacks, are those of `coco`.

    Args:
        overlaps: of the detections and objects of a split.
        iou_thresholds: T of them, above 0.
        matching: the rule.
        num_classes: C.
    """
    order = np.argsort(-overlaps.scores, kind="stable")
    rule = {"coco": _match_coco, "dota": _match_dota, "legacy": _match_legacy}[matching]
    ious, is_ignored = rule(overlaps, order, np.array(iou_thresholds))
    objects = overlaps.object_labels[~overlaps.is_crowd]
    return Outcomes(
        rows=order,
        labels=overlaps.labels[order],
        ious=ious[:, order],
        is_counted=((ious > 0) | ~is_ignored)[:, order],
        num_objects=np.bincount(objects, minlength=num_classes),
    )


def class_average_precision(outcomes: Outcomes, *, area: Area) -> Floats:
    """Return the average precision of each class at each threshold, (C, T).

    A class without objects has NaN, one with objects but without detections 0. The area is that
    under the curve of the highest precision at this or any higher recall (`continuous`), or the
    mean of that curve at 11 (Pascal VOC 2007, DOTA) or 101 recalls (COCO) from 0 to 1.
    """
    is_right = outcomes.is_right
    rows = [outcomes.labels == label for label in range(len(outcomes.num_objects))]
    return np.array(
        [
            _area(is_right[:, row], outcomes.is_counted[:, row], num_objects, area)
            for row, num_objects in zip(rows, outcomes.num_objects.tolist(), strict=True)
        ]
    )


def pooled_average_precision(outcomes: Outcomes, *, area: Area) -> Floats:
    """Return the average precision of the detections of all classes together, (T,).

    NaN if there are no objects; for the areas, see `class_average_precision`.
    """
    total = int(outcomes.num_objects.sum())
    return _area(outcomes.is_right, outcomes.is_counted, total, area)


def _area(is_right: Bools, is_counted: Bools, num_objects: int, area: Area) -> Floats:
    """Return the average precision at each threshold, (T,), of detections (T, M)."""
    if not num_objects:
        return np.full(len(is_right), np.nan)
    num_right = is_right.cumsum(axis=1)
    precision = num_right / np.maximum(is_counted.cumsum(axis=1), 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    if area == "continuous":
        under: Floats = (envelope * is_right).sum(axis=1) / num_objects
        return under
    steps = int(area.removesuffix("_point")) - 1
    wanted = np.arange(steps + 1) * num_objects
    # the number of detections before each recall k / steps is reached, (T, steps + 1)
    before = np.stack([np.searchsorted(steps * row, wanted) for row in num_right])
    never_reached = np.zeros((len(envelope), 1))
    curve = np.concatenate([envelope, never_reached], axis=1)
    mean: Floats = np.take_along_axis(curve, before, axis=1).mean(axis=1)
    return mean


def _match_coco(overlaps: Overlaps, order: Ints, thresholds: Floats) -> tuple[Floats, Bools]:
    """Return IoUs, 0 unless right, and what is ignored if not right, (T, D), by row."""
    pairs = _easy_pairs(overlaps, order)
    ious = np.zeros((len(thresholds), len(order)))
    for row, threshold in zip(ious, thresholds, strict=True):
        row[order] = _assigned_ious(pairs.of(pairs.ious >= threshold), len(order))
    return ious, _crowd_shares(overlaps) >= thresholds[:, None]


def _match_legacy(overlaps: Overlaps, _: Ints, thresholds: Floats) -> tuple[Floats, Bools]:
    """See `_match_coco`."""
    choosing = np.argsort(overlaps.scores.astype(str), kind="stable")
    pairs = _easy_pairs(overlaps, choosing)
    assigned = np.zeros(len(choosing))
    assigned[choosing] = _assigned_ious(pairs.of(pairs.ious > LEGACY_IOU), len(choosing))
    ious = np.where(assigned >= thresholds[:, None], assigned, 0.0)
    return ious, _crowd_shares(overlaps) >= thresholds[:, None]


def _match_dota(overlaps: Overlaps, order: Ints, thresholds: Floats) -> tuple[Floats, Bools]:
    """See `_match_coco`."""
    pairs = _ranked_pairs(overlaps, order)
    pairs = pairs.of(np.lexsort((pairs.objects, -pairs.ious, pairs.detections)))
    best = pairs.of(np.unique(pairs.detections, return_index=True)[1])
    is_difficult = overlaps.is_crowd[best.objects]
    ious = np.zeros((len(thresholds), len(order)))
    is_ignored = np.zeros(ious.shape, dtype=np.bool_)
    for number, threshold in enumerate(thresholds):
        is_above = best.ious > threshold
        ious[number, order] = _assigned_ious(best.of(is_above & ~is_difficult), len(order))
        is_ignored[number, order[best.detections[is_above & is_difficult]]] = True
    return ious, is_ignored


class _Pairs(NamedTuple):
    """Detections and objects (P,) that may be matched.

    Detections are numbered in the order in which they choose; once sorted, the pairs are in that
    order, those of one detection by falling IoU.
    """

    detections: Ints
    objects: Ints
    ious: Floats

    def of(self, chosen: Bools | Ints) -> "_Pairs":
        return _Pairs(self.detections[chosen], self.objects[chosen], self.ious[chosen])


def _ranked_pairs(overlaps: Overlaps, choosing: Ints) -> _Pairs:
    """Return all pairs; `choosing` are the detections in the order of choice."""
    ranks = np.empty(len(choosing), dtype=np.int64)
    ranks[choosing] = np.arange(len(choosing))
    return _Pairs(ranks[overlaps.detections], overlaps.objects, overlaps.ious)


def _easy_pairs(overlaps: Overlaps, choosing: Ints) -> _Pairs:
    """Return the pairs without crowds, sorted."""
    pairs = _ranked_pairs(overlaps, choosing).of(~overlaps.is_crowd[overlaps.objects])
    order = np.lexsort((-pairs.objects, -pairs.ious, pairs.detections))
    return pairs.of(order)  # of equal IoUs the last object comes first, as in COCO


def _assigned_ious(pairs: _Pairs, num_detections: int) -> Floats:
    """Return the IoU of each detection with its object, 0 without one, in their order of choice.

    Each detection in turn takes the first object of its pairs that is free. Instead of one after
    another, all ask for their first object at once, the earliest of those that ask for the same one
    keeps it, and the others go on to their next, until nobody has to (Gale and Shapley 1962).
    """
    next_pair = np.searchsorted(pairs.detections, np.arange(num_detections), side="left")
    ends = np.searchsorted(pairs.detections, np.arange(num_detections), side="right")
    while True:
        proposing = (next_pair < ends).nonzero()[0]
        objects = pairs.objects[next_pair[proposing]]
        first = np.full(pairs.objects.max(initial=-1) + 1, num_detections)
        np.minimum.at(first, objects, proposing)
        refused = proposing[first[objects] != proposing]
        if not len(refused):
            break
        next_pair[refused] += 1
    ious = np.zeros(num_detections)
    ious[proposing] = pairs.ious[next_pair[proposing]]
    return ious


def _crowd_shares(overlaps: Overlaps) -> Floats:
    """Return the largest share of each detection that is inside a crowd, (D,)."""
    shares = np.zeros(len(overlaps.scores))
    is_crowd = overlaps.is_crowd[overlaps.objects]
    np.maximum.at(shares, overlaps.detections[is_crowd], overlaps.shares[is_crowd])
    return shares
