"""Weighted boxes fusion of oriented boxes, whose numbers cannot be averaged as they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visionlab.core.checks import check_at_least, check_range
from visionlab.core.fusing import relative_weights
from visionlab.core.oriented_boxes import canonical, corners
from visionlab.core.polygons import pairwise_iou
from visionlab.tasks.detection.records import Detections


@dataclass(frozen=True, kw_only=True)
class OrientedBoxFusion:
    """Weighted boxes fusion (arXiv 1910.13302) of oriented boxes of each class.

    By falling weighted score, a box joins the cluster whose fused box it overlaps most, or starts
    one; boxes of equal scores are ordered by their numbers, so that the order of members has no
    influence. The fused score is the weighted mean of the scores times the share of the weights of
    members that have a box in the cluster (`box_and_model_avg` of `WeightedBoxFusion`).

    The mean of corners is that of rectangles only if they start at the same corner: a box and
    itself from its third corner on would give a point. So each box first takes the numbers whose
    corners are nearest to those of the fused box. Then centres and sides have weighted means, and
    angles the mean of unit vectors of twice the angle, since half a turn changes nothing.

    Attributes:
        iou_threshold: a box joins a cluster above this IoU with its fused box.
        score_threshold: boxes with lower scores, before weighting, are dropped.
        max_detections: maximum number of fused detections of an image.
    """

    iou_threshold: float
    score_threshold: float
    max_detections: int

    def __post_init__(self) -> None:
        check_range(self, "[0, 1)", "iou_threshold")
        check_range(self, "[0, 1]", "score_threshold")
        check_at_least(self, 1, "max_detections")

    def __call__(
        self, members: Sequence[Sequence[Detections]], weights: Sequence[float]
    ) -> list[Detections]:
        """Return one detection for each cluster of each image, highest scores first.

        Args:
            members: the detections (D, 5) of every member, one for each image.
            weights: of the members; a member of weight 0 is left out.

        Raises:
            ValueError: the weights are refused.
        """
        relative = relative_weights(weights, num_members=len(members))
        kept = [(each, weight) for each, weight in zip(members, relative, strict=True) if weight]
        used = [weight for _, weight in kept]
        return [self._fuse(image, used) for image in zip(*(each for each, _ in kept), strict=True)]

    def _fuse(self, found: Sequence[Detections], weights: Sequence[float]) -> Detections:
        """Return the fused detections of an image, given those of each member."""
        boxes, scores, labels = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
        counts = torch.tensor([len(each.scores) for each in found])
        member = torch.arange(len(found)).repeat_interleave(counts)
        weight = torch.tensor(list(weights), dtype=torch.float64)[member]
        order = _canonical_order(boxes, scores * weight)
        clusters: dict[int, list[_Cluster]] = {}
        for row in order[scores[order] >= self.score_threshold].tolist():
            box = boxes[row].double()
            same = clusters.setdefault(int(labels[row]), [])
            nearest = _nearest(box, same, self.iou_threshold)
            if nearest is None:
                nearest = _Cluster(box=canonical(box), rows=[], aligned=[])
                same.append(nearest)
            nearest.add(row, box, scores * weight)
        rows = [
            (each.box, _score(each.rows, scores, weight, member, sum(weights)), label)
            for label, own in sorted(clusters.items())
            for each in own
        ]
        rows = sorted(rows, key=lambda row: -row[1])[: self.max_detections]
        return Detections(
            torch.stack([box for box, _, _ in rows]).to(boxes.dtype) if rows else boxes[:0],
            scores.new_tensor([score for _, score, _ in rows]),
            labels.new_tensor([label for _, _, label in rows]),
        )


def _canonical_order(boxes: Tensor, scores: Tensor) -> Tensor:
    """Return the rows by falling score, then by the canonical numbers of the boxes."""
    numbers = canonical(boxes.double()).numpy()
    return torch.from_numpy(np.lexsort((*numbers.T[::-1], -scores.numpy())))


@dataclass(kw_only=True)
class _Cluster:
    """Boxes of one object: the fused box (5,), their rows, and their aligned numbers (5,)."""

    box: Tensor
    rows: list[int]
    aligned: list[Tensor]

    def add(self, row: int, box: Tensor, weights: Tensor) -> None:
        """Add a box; weights are those of all rows."""
        self.rows.append(row)
        self.aligned.append(align(box, self.box))
        self.box = mean_box(torch.stack(self.aligned), weights[self.rows])


def align(box: Tensor, other: Tensor) -> Tensor:
    """Return the numbers (5,) of a box whose corners are nearest to those of another one."""
    x, y, width, height, angle = box.unbind()
    quarter = math.pi / 2
    turns = [box] + [
        torch.stack([x, y, *sides, angle + turn * quarter])
        for turn, sides in ((1, (height, width)), (2, (width, height)), (3, (height, width)))
    ]
    options = torch.stack(turns)
    distances = (corners(options) - corners(other)).square().sum(dim=(1, 2))
    return options[distances.argmin()]


def mean_box(boxes: Tensor, weights: Tensor) -> Tensor:
    """Return the canonical weighted mean of aligned boxes (K, 5); their order does not matter."""
    shares = (
        weights / weights.sum() if weights.sum() > 0 else torch.ones_like(weights) / len(weights)
    )
    mean = (boxes * shares[:, None]).sum(dim=0)
    twice = 2.0 * boxes[:, 4]
    mean[4] = torch.atan2((shares * twice.sin()).sum(), (shares * twice.cos()).sum()) / 2.0
    return canonical(mean)


def _nearest(box: Tensor, clusters: Sequence[_Cluster], iou_threshold: float) -> _Cluster | None:
    """Return the first cluster of the highest IoU above the threshold, if any."""
    if not clusters:
        return None
    overlaps = pairwise_iou(
        corners(box)[None], corners(torch.stack([each.box for each in clusters]))
    )[0]
    best = int(overlaps.argmax())
    return clusters[best] if overlaps[best] > iou_threshold else None


def _score(
    rows: Sequence[int], scores: Tensor, weight: Tensor, member: Tensor, total: float
) -> float:
    """Return the fused score of a cluster."""
    own = weight[rows]
    if not own.sum() > 0:
        return 0.0
    found = {int(member[row]): float(weight[row]) for row in rows}
    mean = (scores[rows].double() * own).sum() / own.sum()
    return float(mean) * sum(found.values()) / total
