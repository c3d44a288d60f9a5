"""Matching of detections with the objects of an image, by the rules of three evaluations."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from visionlab.tasks.detection.metric import IGNORED, RIGHT, WRONG

Matching = Literal["best_free", "dota", "deepscores"]
RESERVED_IOU = 0.2  # from which on DeepScoresV2's evaluation gives an object away
_Floats = NDArray[np.float64]
_Outcomes = NDArray[np.int8]


class Matcher(Protocol):
    """A rule of matching."""

    def __call__(
        self,
        overlaps: _Floats,
        scores: NDArray[np.float32],
        is_difficult: NDArray[np.bool_],
        iou_thresholds: Sequence[float],
    ) -> _Outcomes:
        """Return the outcomes of the detections of an image, (T, D).

        Args:
            overlaps: (D, G), IoU of detections and objects, 0 for other classes.
            scores: (D,).
            is_difficult: (G,), objects that are neither found nor missed.
            iou_thresholds: T of them.
        """


def best_free(
    overlaps: _Floats,
    scores: NDArray[np.float32],
    is_difficult: NDArray[np.bool_],
    iou_thresholds: Sequence[float],
) -> _Outcomes:
    """Match as COCO does; see `Matcher`.

    By falling score, each detection takes the unmatched object of the highest IoU, if it is at
    least the threshold. Those that are left and overlap a difficult object as much are ignored.
    """
    outcomes = np.full((len(iou_thresholds), len(scores)), WRONG, dtype=np.int8)
    order = np.argsort(-scores, kind="stable")
    for row, threshold in zip(outcomes, iou_thresholds, strict=True):
        enough = np.where(overlaps >= threshold, overlaps, 0.0)
        free = enough[:, ~is_difficult]
        row[enough[:, is_difficult].any(axis=1)] = IGNORED
        for number in order[free[order].any(axis=1)]:
            # the last of equal overlaps, as in COCO's loop
            best = free.shape[1] - 1 - free[number, ::-1].argmax()
            if free[number, best]:
                row[number] = RIGHT
                free[:, best] = 0.0
    return outcomes


def dota(
    overlaps: _Floats,
    scores: NDArray[np.float32],
    is_difficult: NDArray[np.bool_],
    iou_thresholds: Sequence[float],
) -> _Outcomes:
    """Match as DOTA's evaluation of task 1 does; see `Matcher`.

    Each detection stands for its object of the highest IoU and has no second choice. It is right if
    the IoU is above the threshold and no better detection stands for the object.
    """
    outcomes = np.full((len(iou_thresholds), len(scores)), WRONG, dtype=np.int8)
    if not overlaps.size:
        return outcomes
    best, highest = overlaps.argmax(axis=1), overlaps.max(axis=1)
    order = np.argsort(-scores, kind="stable")
    for row, threshold in zip(outcomes, iou_thresholds, strict=True):
        above = order[highest[order] > threshold]
        row[above[is_difficult[best[above]]]] = IGNORED
        counted = above[~is_difficult[best[above]]]
        row[counted[np.unique(best[counted], return_index=True)[1]]] = RIGHT
    return outcomes


def deepscores(
    overlaps: _Floats,
    scores: NDArray[np.float32],
    is_difficult: NDArray[np.bool_],
    iou_thresholds: Sequence[float],
) -> _Outcomes:
    """Match as DeepScoresV2's first evaluation did, with its faults; see `Matcher`.

    The scores were text and went up: the detection whose score comes first in alphabetical order,
    in general the least sure one, takes the free object of the highest IoU for good, from an IoU of
    `RESERVED_IOU` on, whatever the threshold. No object is difficult.
    """
    outcomes = np.full((len(iou_thresholds), len(scores)), WRONG, dtype=np.int8)
    free = np.where(overlaps > RESERVED_IOU, overlaps, 0.0)
    words = [str(float(score)) for score in scores]
    for number in sorted(range(len(words)), key=words.__getitem__):
        if free[number].any():
            best = free[number].argmax()
            outcomes[free[number, best] >= np.asarray(iou_thresholds), number] = RIGHT
            free[:, best] = 0.0
    return outcomes


MATCHERS: dict[Matching, Matcher] = {
    "best_free": best_free,
    "dota": dota,
    "deepscores": deepscores,
}
