"""Fusion by non-maximum suppression, and non-maximum weighted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visionlab.core.checks import check_range
from visionlab.tasks.detection.fuse.candidates import (
    Bools,
    Candidates,
    Fused,
    mean_boxes,
)
from visionlab.tasks.detection.fuse.images import FusionSettings, fuse_images
from visionlab.tasks.detection.fuse.pairs import Overlaps, overlaps
from visionlab.tasks.detection.records import Detections


@dataclass(frozen=True, kw_only=True)
class NonMaximumSuppression(FusionSettings):
    """Non-maximum suppression of all members' boxes together, for each image and class.

    Scores are multiplied by the weight of the member, relative to the largest.

    Attributes:
        iou_threshold: boxes with a higher IoU with a better box that is kept are suppressed.
    """

    iou_threshold: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "[0, 1]", "iou_threshold")

    def __call__(
        self, members: Sequence[Sequence[Detections]], weights: Sequence[float]
    ) -> list[Detections]:
        """Return the fused detections of each image; see `fuse_images`."""
        return fuse_images(self._fuse, self, members, weights)

    def _fuse(self, candidates: Candidates, weights: Sequence[float]) -> Fused:
        pairs = overlaps(candidates, iou_threshold=self.iou_threshold)
        rows = np.flatnonzero(_suppress(pairs, count=len(candidates.scores)))
        return Fused(candidates.boxes[:, rows], candidates.scores[rows], rows)


@dataclass(frozen=True, kw_only=True)
class NonMaximumWeighted(FusionSettings):
    """Non-maximum weighted (CAD, ICCV 2017 workshops, Zhou et al.), for each image and class.

    Non-maximum suppression, but each box that is kept becomes the mean of itself and of the boxes
    that it suppresses, weighted by score times IoU with it. A box is suppressed by the better kept
    box of the highest IoU. The score is that of the kept box, multiplied by the weight of its
    member, relative to the largest.

    Attributes:
        iou_threshold: boxes with a higher IoU with a better box that is kept are suppressed.
    """

    iou_threshold: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "[0, 1]", "iou_threshold")

    def __call__(
        self, members: Sequence[Sequence[Detections]], weights: Sequence[float]
    ) -> list[Detections]:
        """Return the fused detections of each image; see `fuse_images`."""
        return fuse_images(self._fuse, self, members, weights)

    def _fuse(self, candidates: Candidates, weights: Sequence[float]) -> Fused:
        count = len(candidates.scores)
        better, worse, ious = overlaps(candidates, iou_threshold=self.iou_threshold)
        is_kept = _suppress(Overlaps(better, worse, ious), count=count)
        pairs = np.flatnonzero(is_kept[better])
        better, worse, ious = better[pairs], worse[pairs], ious[pairs]
        best = np.where(is_kept, 1.0, 0.0)  # the IoU of a kept box with itself
        np.maximum.at(best, worse, ious)
        seeds = np.where(is_kept, np.arange(count), count)
        is_best = ious == best[worse]
        np.minimum.at(seeds, worse[is_best], better[is_best])
        boxes, rows = mean_boxes(candidates, seeds, shares=candidates.scores * best)
        return Fused(boxes, candidates.scores[rows], rows)


def _suppress(pairs: Overlaps, *, count: int) -> Bools:
    """Return which of `count` candidates greedy suppression keeps, (count,).

    A round keeps all candidates of which no better one is undecided, and suppresses their partners.
    """
    better, worse = pairs.better, pairs.worse
    is_kept = np.ones(count, dtype=bool)
    while len(better):
        is_waiting = np.zeros(count, dtype=bool)
        is_waiting[worse] = True
        is_kept[worse[~is_waiting[better]]] = False
        undecided = np.flatnonzero(is_kept[better] & is_kept[worse])
        better, worse = better[undecided], worse[undecided]
    return is_kept
