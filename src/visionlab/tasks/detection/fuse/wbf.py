"""Weighted boxes fusion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from visionlab.core.checks import check_at_least, check_choice, check_range
from visionlab.tasks.detection.fuse.candidates import (
    Candidates,
    Floats,
    Fused,
    Ints,
    fuse_images,
    mean_boxes,
)
from visionlab.tasks.detection.fuse.clusters import find_clusters
from visionlab.tasks.detection.records import Detections

Confidence = Literal["avg", "sum", "max", "box_and_model_avg", "absent_model_aware_avg"]


@dataclass(frozen=True, kw_only=True)
class WeightedBoxFusion:
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
        score_threshold: boxes with lower scores, before weighting, are dropped.
        confidence: how the score of a cluster is computed.
        max_detections: maximum number of fused detections of an image.
    """

    iou_threshold: float
    score_threshold: float
    confidence: Confidence
    max_detections: int

    def __post_init__(self) -> None:
        check_range(self, "[0, 1]", "iou_threshold", "score_threshold")
        check_choice(self, get_args(Confidence), "confidence")
        check_at_least(self, 1, "max_detections")

    def __call__(
        self, members: Sequence[Sequence[Detections]], weights: Sequence[float]
    ) -> list[Detections]:
        """Return the detections of each image, given those of each member in each image.

        Raises:
            ValueError: the members differ in the number of images, or the weights are refused.
        """
        return fuse_images(
            self._fuse,
            members,
            weights,
            score_threshold=self.score_threshold,
            max_detections=self.max_detections,
        )

    def _fuse(self, candidates: Candidates, weights: Sequence[float]) -> Fused:
        seeds = find_clusters(candidates, iou_threshold=self.iou_threshold)
        boxes, rows = mean_boxes(candidates, seeds, shares=candidates.scores)
        if self.confidence == "max":
            return Fused(boxes, candidates.scores[rows], rows)  # a seed has the highest score
        clusters = np.searchsorted(rows, seeds)
        return Fused(boxes, _confidence(self.confidence, candidates, clusters, weights), rows)


def _confidence(
    confidence: Confidence, candidates: Candidates, clusters: Ints, weights: Sequence[float]
) -> Floats:
    """Return the confidence of each cluster, (K,), given the cluster of each candidate, (N,)."""
    total = math.fsum(weights)
    scores = np.bincount(clusters, candidates.scores)
    if confidence == "sum":
        return scores / total
    if confidence == "avg":
        return scores * np.minimum(1.0, len(weights) / np.bincount(clusters)) / total
    sums = np.bincount(clusters, candidates.weights)
    keys = clusters * len(weights) + candidates.members
    firsts = np.sort(np.unique(keys, return_index=True)[1])  # a box of each member and cluster
    present = np.bincount(clusters[firsts], candidates.weights[firsts])
    if confidence == "box_and_model_avg":
        return scores / sums * (present / total)
    return scores / (sums + (total - present))
