"""Weighted boxes fusion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from visionlab.core.checks import check_choice, check_range
from visionlab.tasks.detection.fuse.candidates import (
    Candidates,
    Floats,
    Fused,
    Ints,
    mean_boxes,
    number_clusters,
)
from visionlab.tasks.detection.fuse.clusters import find_clusters
from visionlab.tasks.detection.fuse.images import FusionSettings, fuse_images
from visionlab.tasks.detection.records import Detections

Confidence = Literal["avg", "sum", "max", "box_and_model_avg", "absent_model_aware_avg"]


@dataclass(frozen=True, kw_only=True)
class WeightedBoxFusion(FusionSettings):
    """Weighted boxes fusion (arXiv 1910.13302), for each image and class.

    From the highest score on, multiplied by the weight of the member, each box joins the cluster
    whose fused box has the highest IoU with it, if that is above a threshold, or opens a cluster.
    The fused box is the mean of the boxes of a cluster, weighted by these scores; a plain mean if
    all of them are 0. Members' detections should have passed non-maximum suppression.

    Equal scores are ordered by box coordinates, so the order of members has no influence; in
    `ensemble_boxes` it has.

    Let s be the sum of the weighted scores of a cluster of n boxes, w the sum of the weights of
    their members, u the same without repeats, M the number of members and W the sum of all weights.
    The confidence is:

    - `avg`: s / n * min(n, M) / W;
    - `sum`: s / W, `avg` with `allows_overflow` in `ensemble_boxes`;
    - `max`: the highest score in the cluster, weighted relative to the largest weight;
    - `box_and_model_avg`: s / w * u / W;
    - `absent_model_aware_avg`: s / (w + W - u).

    `avg` and `sum` would exceed 1 if a member has several boxes in a cluster; they become 1.

    Attributes:
        iou_threshold: a box joins a cluster if its IoU is higher.
        confidence: how the score of a cluster is computed.
    """

    iou_threshold: float
    confidence: Confidence

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "[0, 1]", "iou_threshold")
        check_choice(self, get_args(Confidence), "confidence")

    def __call__(
        self, members: Sequence[Sequence[Detections]], weights: Sequence[float]
    ) -> list[Detections]:
        """Return the fused detections of each image; see `fuse_images`."""
        return fuse_images(self._fuse, self, members, weights)

    def _fuse(self, candidates: Candidates, weights: Sequence[float]) -> Fused:
        seeds = find_clusters(candidates, iou_threshold=self.iou_threshold)
        boxes, rows = mean_boxes(candidates, seeds, shares=candidates.scores)
        scores = cluster_scores(
            number_clusters(seeds)[1],
            confidence=self.confidence,
            scores=candidates.scores,
            members=candidates.members,
            weights=weights,
        )
        return Fused(boxes, scores, rows)


def cluster_scores(
    clusters: Ints,
    *,
    confidence: Confidence,
    scores: Floats,
    members: Ints,
    weights: Sequence[float],
) -> Floats:
    """Return the score of each cluster, (K,); see `WeightedBoxFusion`.

    Args:
        clusters: (N,), the cluster of each box, from 0 to K - 1.
        confidence: the rule.
        scores: (N,), multiplied by the relative weight of the member.
        members: (N,), the member of each box.
        weights: of all members, relative to the largest.
    """
    total = math.fsum(weights)
    sums = np.bincount(clusters, scores)
    if confidence == "max":
        highest = np.zeros(len(sums))
        np.maximum.at(highest, clusters, scores)
        return highest
    if confidence == "sum":
        return sums / total
    if confidence == "avg":
        return sums * np.minimum(1.0, len(weights) / np.bincount(clusters)) / total
    of_boxes = np.array(weights)[members]
    keys = clusters * len(weights) + members
    firsts = np.sort(np.unique(keys, return_index=True)[1])  # a box of each member and cluster
    present = np.bincount(clusters[firsts], of_boxes[firsts])
    own = np.bincount(clusters, of_boxes)
    if confidence == "box_and_model_avg":
        return sums / own * (present / total)
    return sums / (own + (total - present))
