"""Weighted boxes fusion of oriented boxes, whose numbers cannot be averaged as they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.core.checks import check_range
from visionlab.core.oriented_boxes import canonical, corners
from visionlab.core.polygons import pairwise_iou
from visionlab.tasks.detection.records import Detections


@dataclass(frozen=True, kw_only=True)
class FuseOriented:
    """Weighted boxes fusion (arXiv 1910.13302) of oriented boxes of each class.

    By falling weighted score, then member and row, a box joins the cluster whose fused box it
    overlaps most, or starts one. The fused score is the weighted mean of the scores times the share
    of the weights of members that have a box in the cluster, so it is never above 1.

    The mean of corners is that of rectangles only if they start at the same corner: a box and
    itself from its third corner on would give a point. So each box first takes the numbers whose
    corners are nearest to those of the fused box. Then centres and sides have weighted means, and
    angles the mean of unit vectors of twice the angle, since half a turn changes nothing.

    Attributes:
        iou_threshold: a box joins a cluster above this IoU with its fused box.
        min_score: boxes with lower scores are dropped first.
    """

    iou_threshold: float
    min_score: float

    def __post_init__(self) -> None:
        check_range(self, "[0, 1)", "iou_threshold")
        check_range(self, "[0, 1]", "min_score")

    def __call__(
        self, members: Sequence[Sequence[Detections]], weights: Sequence[float]
    ) -> list[Detections]:
        """Return one detection for each cluster of each image.

        Args:
            members: the detections (D, 5) of every member, one for each image.
            weights: of the members.

        Raises:
            ValueError: a weight is negative, they sum to 0, or their number is another one.
        """
        if len(weights) != len(members) or min(weights, default=0) < 0 or not sum(weights) > 0:
            rule = f"{len(members)} numbers >= 0 with a sum above 0"
            raise ValueError(f"weights must be {rule}, got {list(weights)}")
        return [self._fuse(image, weights) for image in zip(*members, strict=True)]

    def _fuse(self, found: Sequence[Detections], weights: Sequence[float]) -> Detections:
        """Return the fused detections of an image, given those of each member."""
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        counts = torch.tensor([len(each.scores) for each in found])
        member = torch.arange(len(found)).repeat_interleave(counts)
        weight = torch.tensor(list(weights), dtype=torch.float64)[member]
        order = (scores * weight).argsort(descending=True, stable=True)
        clusters: dict[int, list[_Cluster]] = {}
        for row in order[scores[order] >= self.min_score].tolist():
            box = boxes[row].double()
            same = clusters.setdefault(int(labels[row]), [])
            nearest = _nearest(box, same, self.iou_threshold)
            if nearest is None:
                nearest = _Cluster(box=canonical(box), rows=[], aligned=[])
                same.append(nearest)
            nearest.add(row, box, scores * weight)
        fused = [(each, label) for label, own in clusters.items() for each in own]
        rows = [
            (each.box, _score(each.rows, scores, weight, member, sum(weights)), label)
            for each, label in fused
        ]
        rows.sort(key=lambda row: -row[1])
        return Detections(
            torch.stack([box for box, _, _ in rows]).to(boxes.dtype) if rows else boxes[:0],
            scores.new_tensor([score for _, score, _ in rows]),
            labels.new_tensor([label for _, _, label in rows]),
        )


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
