"""Weighted boxes fusion of oriented boxes, whose numbers cannot be averaged as they are."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from visionlab.core.checks import check_at_least, check_choice, check_range
from visionlab.core.fusing import relative_weights
from visionlab.core.oriented_boxes import canonical
from visionlab.tasks.detection.fuse.wbf import Confidence, cluster_scores
from visionlab.tasks.detection.oriented.clusters import cluster
from visionlab.tasks.detection.records import Detections

_SMALLEST = 1e-12  # share in a mean, so that boxes with scores of 0 have a plain one


@dataclass(frozen=True, kw_only=True)
class OrientedBoxFusion:
    """Weighted boxes fusion (arXiv 1910.13302) of oriented boxes, for each image and class.

    As `WeightedBoxFusion`, which also explains `confidence`. But the mean of corners is that of
    rectangles only if they start at the same corner: a box and itself from its third corner on
    would give a point. So each box first takes the numbers whose corners are nearest to those of
    the fused box that it joins. Then centres and sides have weighted means, and angles the mean of
    unit vectors of twice the angle, since half a turn changes nothing.

    Attributes:
        iou_threshold: a box joins a cluster above this IoU with its fused box.
        score_threshold: boxes with lower scores, before weighting, are dropped.
        confidence: how the score of a cluster is computed.
        max_detections: maximum number of fused detections of an image.
    """

    iou_threshold: float
    score_threshold: float
    confidence: Confidence
    max_detections: int

    def __post_init__(self) -> None:
        check_range(self, "[0, 1)", "iou_threshold")
        check_range(self, "[0, 1]", "score_threshold")
        check_choice(self, get_args(Confidence), "confidence")
        check_at_least(self, 1, "max_detections")

    def __call__(
        self, members: Sequence[Sequence[Detections]], weights: Sequence[float]
    ) -> list[Detections]:
        """Return the detections of each image, highest scores first.

        Args:
            members: the detections (D, 5) of every member, one for each image.
            weights: of the members; a member of weight 0 is left out.

        Raises:
            ValueError: the weights are refused.
        """
        relative = relative_weights(weights, num_members=len(members))
        kept = [member for member, weight in zip(members, relative, strict=True) if weight]
        used = [weight for weight in relative if weight]
        found = _candidates(kept, used, score_threshold=self.score_threshold)
        groups = torch.stack([found.images, found.labels], dim=1)
        groups = (
            torch.unique(groups, dim=0, return_inverse=True)[1] if len(groups) else found.images
        )
        clusters, boxes = cluster(
            found.boxes, found.scores.clamp(min=_SMALLEST), groups, iou_threshold=self.iou_threshold
        )
        scores = cluster_scores(
            clusters.numpy(),
            confidence=self.confidence,
            scores=found.scores.numpy(),
            members=found.members.numpy(),
            weights=used,
        )
        rows = torch.from_numpy(np.unique(clusters.numpy(), return_index=True)[1])
        images, labels = found.images[rows], found.labels[rows]
        order = torch.from_numpy(np.lexsort((labels.numpy(), -scores)))
        fused = (boxes.float(), torch.from_numpy(scores).clamp(max=1.0).float(), labels)
        return [
            Detections(*(part[own[: self.max_detections]] for part in fused))
            for own in (order[images[order] == number] for number in range(len(kept[0])))
        ]


class _Candidates(NamedTuple):
    """Boxes (N, 5) of all members, ordered by image, label, falling weighted score and numbers."""

    boxes: Tensor
    scores: Tensor
    images: Tensor
    labels: Tensor
    members: Tensor


def _candidates(
    members: Sequence[Sequence[Detections]], weights: Sequence[float], *, score_threshold: float
) -> _Candidates:
    found = list(itertools.chain.from_iterable(members))
    boxes, scores, labels = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    counts = torch.tensor([len(each.scores) for each in found])
    number = torch.arange(len(found)).repeat_interleave(counts)
    member, image = number // len(members[0]), number % len(members[0])
    weighted = scores.double() * torch.tensor(weights, dtype=torch.float64)[member]
    boxes = canonical(boxes.double())
    keys = (*boxes.T.flip(0), -weighted, labels, image)
    order = torch.from_numpy(np.lexsort([key.numpy() for key in keys]))
    order = order[scores[order] >= score_threshold]
    return _Candidates(*(part[order] for part in (boxes, weighted, image, labels, member)))
