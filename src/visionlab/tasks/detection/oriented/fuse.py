"""Weighted boxes fusion of oriented boxes, whose numbers cannot be averaged as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from torch import Tensor

from visionlab.core.checks import check_choice, check_range
from visionlab.core.oriented_boxes import canonical
from visionlab.tasks.detection.fuse.candidates import (
    Bools,
    Candidates,
    Floats,
    Fused,
    number_clusters,
)
from visionlab.tasks.detection.fuse.images import FusionSettings, fuse_images
from visionlab.tasks.detection.fuse.wbf import Confidence, cluster_scores
from visionlab.tasks.detection.oriented.clusters import find_clusters, mean_boxes
from visionlab.tasks.detection.records import Detections


@dataclass(frozen=True, kw_only=True)
class OrientedBoxFusion(FusionSettings):
    """Weighted boxes fusion (arXiv 1910.13302) of oriented boxes, for each image and class.

    As `WeightedBoxFusion`, which also explains `confidence`. But the mean of corners is that of
    rectangles only if they start at the same corner: a box and itself from its third corner on
    would give a point. So each box first takes the numbers whose corners are nearest to those of
    the fused box that it joins. Then centres and sides have weighted means, and angles the mean of
    unit vectors of twice the angle, since half a turn changes nothing.

    Attributes:
        iou_threshold: a box joins a cluster above this IoU with its fused box.
        confidence: how the score of a cluster is computed.
    """

    iou_threshold: float
    confidence: Confidence

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "[0, 1)", "iou_threshold")
        check_choice(self, get_args(Confidence), "confidence")

    def __call__(
        self, members: Sequence[Sequence[Detections]], weights: Sequence[float]
    ) -> list[Detections]:
        """Return the fused detections (D, 5) of each image; see `fuse_images`."""
        return fuse_images(self._fuse, self, members, weights, to_columns=_columns)

    def _fuse(self, candidates: Candidates, weights: Sequence[float]) -> Fused:
        clusters = find_clusters(candidates, iou_threshold=self.iou_threshold)
        boxes, rows = mean_boxes(candidates, clusters)
        scores = cluster_scores(
            number_clusters(clusters.seeds)[1],
            confidence=self.confidence,
            scores=candidates.scores,
            members=candidates.members,
            weights=weights,
        )
        return Fused(boxes, scores, rows)


def _columns(boxes: Tensor) -> tuple[Floats, Bools]:
    """Return boxes (N, 5) as canonical columns, and which of them have an area, (N,)."""
    columns = np.ascontiguousarray(canonical(boxes.double()).numpy().T)
    has_area: Bools = np.all(columns[2:4] > 0, axis=0)
    return columns, has_area
