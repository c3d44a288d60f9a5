"""Losses of two-stage detection."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from visionlab.core.checks import check_at_least, check_positive
from visionlab.tasks.detection.records import BoxTargets, Sampled, TwoStageOutput


@dataclass(frozen=True, kw_only=True)
class FasterRcnnLoss:
    """Losses of both stages of a Faster R-CNN, one of each for every image.

    Faster R-CNN, arXiv 1506.01497, equation 1, and Fast R-CNN, arXiv 1504.08083, section 2.3. Each
    is a mean over the drawn anchors or proposals of an image, box losses too, to which background
    adds nothing. torchvision takes the mean over those of the batch, which differs only if an image
    has fewer than were to be drawn; this way no image's loss depends on its batch. Computed in
    float32.

    Attributes:
        objectness_weight: weight of the binary cross-entropy of anchors.
        proposal_weight: weight of the smooth L1 loss of proposals.
        classification_weight: weight of the cross-entropy of classes.
        box_weight: weight of the smooth L1 loss of boxes.
        beta: difference at which smooth L1 changes from quadratic to linear.
    """

    is_per_sample: ClassVar[bool] = True
    objectness_weight: float
    proposal_weight: float
    classification_weight: float
    box_weight: float
    beta: float

    def __post_init__(self) -> None:
        check_at_least(self, 0, "objectness_weight", "proposal_weight", "classification_weight")
        check_at_least(self, 0, "box_weight")
        check_positive(self, "beta")

    def __call__(self, outputs: TwoStageOutput, targets: BoxTargets) -> dict[str, Tensor]:
        """Return `objectness`, `proposal`, `classification` and `box`, (B,) each."""
        anchors, sampled = outputs.anchors, outputs.sampled
        assert anchors is not None
        assert sampled is not None
        objectness = F.binary_cross_entropy_with_logits(
            anchors.logits[:, 0], anchors.labels.float(), reduction="none"
        )
        classification = F.cross_entropy(sampled.logits, sampled.labels, reduction="none")
        return {
            "objectness": self.objectness_weight * _means(objectness, anchors),
            "proposal": self.proposal_weight * self._box_loss(anchors),
            "classification": self.classification_weight * _means(classification, sampled),
            "box": self.box_weight * self._box_loss(sampled),
        }

    def _box_loss(self, sampled: Sampled) -> Tensor:
        losses = F.smooth_l1_loss(sampled.deltas, sampled.wanted, beta=self.beta, reduction="none")
        return _means(losses.sum(dim=1) * (sampled.labels > 0), sampled)


def _means(values: Tensor, sampled: Sampled) -> Tensor:
    """Return the mean over the samples of each image, (B,); 0 without samples."""
    parts = torch.split(values, list(sampled.counts))
    return torch.stack([part.sum() / max(1, len(part)) for part in parts])
