"""Fusion by soft non-maximum suppression (Soft-NMS, arXiv 1704.04503).

In each image and class, the best box is picked and the scores of those that overlap it decay; then
the best of the others is picked, and so on. Scores are first multiplied by the weight of the
member, relative to the largest. Copies of a box decay but stay, so equal members do not fuse to
one of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visionlab.core.checks import check_positive, check_range
from visionlab.tasks.detection.fuse.candidates import (
    Candidates,
    Floats,
    Fused,
)
from visionlab.tasks.detection.fuse.images import FusionSettings, fuse_images
from visionlab.tasks.detection.fuse.pairs import Overlaps, overlaps
from visionlab.tasks.detection.records import Detections


@dataclass(frozen=True, kw_only=True)
class LinearSoftNms(FusionSettings):
    """Soft-NMS that multiplies scores by 1 - IoU if the IoU is above a threshold.

    Attributes:
        iou_threshold: scores decay if the IoU is higher.
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
        return _decayed(candidates, pairs, 1.0 - pairs.ious, score_threshold=self.score_threshold)


@dataclass(frozen=True, kw_only=True)
class GaussianSoftNms(FusionSettings):
    """Soft-NMS that multiplies scores by exp(-IoU^2 / sigma).

    Attributes:
        sigma: the larger, the less scores decay; 0.5 in the paper.
    """

    sigma: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "sigma")

    def __call__(
        self, members: Sequence[Sequence[Detections]], weights: Sequence[float]
    ) -> list[Detections]:
        """Return the fused detections of each image; see `fuse_images`."""
        return fuse_images(self._fuse, self, members, weights)

    def _fuse(self, candidates: Candidates, weights: Sequence[float]) -> Fused:
        pairs = overlaps(candidates, iou_threshold=0.0)
        factors = np.exp(-np.square(pairs.ious) / self.sigma)
        return _decayed(candidates, pairs, factors, score_threshold=self.score_threshold)


def _decayed(
    candidates: Candidates, pairs: Overlaps, factors: Floats, *, score_threshold: float
) -> Fused:
    """Return the boxes with their scores when they are picked.

    A round picks all boxes that are better than all that they overlap: scores only fall, so each of
    them would be picked before those, whatever is picked elsewhere.
    """
    first, second, scores = pairs.better, pairs.worse, candidates.scores.copy()
    while len(first):
        is_first_better = scores[first] >= scores[second]  # equal scores keep the canonical order
        winners = np.where(is_first_better, first, second)
        losers = np.where(is_first_better, second, first)
        is_picked = np.ones(len(scores), dtype=bool)
        is_picked[losers] = False
        decays = is_picked[winners]
        np.multiply.at(scores, losers[decays], factors[decays])
        is_out = is_picked | (scores < score_threshold)
        rest = np.flatnonzero(~(is_out[first] | is_out[second]))
        first, second, factors = first[rest], second[rest], factors[rest]
    rows = np.flatnonzero(scores >= score_threshold)
    return Fused(candidates.boxes[:, rows], scores[rows], rows)
