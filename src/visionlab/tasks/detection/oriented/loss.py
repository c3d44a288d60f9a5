"""Losses of one-stage detection of oriented boxes."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from visionlab.core import oriented_boxes
from visionlab.core.checks import check_at_least, check_choice, check_positive, check_range
from visionlab.tasks.detection.loss.retinanet import check_matching_iou, match_and_classify
from visionlab.tasks.detection.records import BoxTargets, DenseOutput, OrientedOutput

OffsetLoss = Literal["smooth_l1", "l1"]


@dataclass(frozen=True, kw_only=True)
class OrientedRetinaNetLoss:
    """The losses of `RetinaNetLoss` for oriented boxes.

    Anchors are upright and matched with the upright boxes around the oriented ones, as in
    RetinaNet-H (R3Det, arXiv 1908.05612, section 4.1).

    A box has the same corners if its sides change places and it turns by a right angle. The loss is
    that of the numbers nearest to the prediction, so none is punished for the right rectangle
    (RSDet, arXiv 1911.08299, equation 5).

    Attributes:
        alpha: weight of the positive class in the focal loss; that of the negative one is
            1 - alpha.
        gamma: exponent of the focal loss; 0 is weighted cross-entropy.
        positive_iou: anchors with at least this IoU with a box are positive.
        negative_iou: anchors below this IoU with all boxes are background; those in between are
            ignored.
        force_best_anchor: also match each box with its anchor of the highest IoU, however low it
            is; the first box wins if boxes share an anchor.
        box: `smooth_l1` or `l1`, the mean over a box's five offsets, divided by the model's
            `box_std`.
        beta: difference at which `smooth_l1` changes from quadratic to linear.
        box_weight: weight of the loss of boxes.
    """

    is_per_sample: ClassVar[bool] = False
    alpha: float
    gamma: float
    positive_iou: float
    negative_iou: float
    force_best_anchor: bool
    box: OffsetLoss
    beta: float
    box_weight: float

    def __post_init__(self) -> None:
        check_range(self, "[0, 1]", "alpha")
        check_at_least(self, 0, "gamma", "box_weight")
        check_matching_iou(positive_iou=self.positive_iou, negative_iou=self.negative_iou)
        check_choice(self, get_args(OffsetLoss), "box")
        check_positive(self, "beta")

    def __call__(self, outputs: OrientedOutput, targets: BoxTargets) -> dict[str, Tensor]:
        """Return `classification` and `box`, scalars.

        Raises:
            ValueError: the targets are upright boxes.
        """
        if targets.oriented is None:
            raise ValueError("dataset must have oriented boxes for this loss, got upright ones")
        classification, positives = match_and_classify(
            DenseOutput(*outputs),
            targets,
            alpha=self.alpha,
            gamma=self.gamma,
            positive_iou=self.positive_iou,
            negative_iou=self.negative_iou,
            force_best_anchor=self.force_best_anchor,
        )
        image, anchor, number = positives
        anchors = oriented_boxes.from_boxes(outputs.anchors[anchor])
        wanted = oriented_boxes.encode(targets.oriented[image, number], anchors)
        losses = self._offset_losses(
            outputs.deltas[image, anchor].float(),
            _equivalents(wanted, anchors) / outputs.box_std,
        )
        num_positives = max(1, len(image))
        return {
            "classification": classification / num_positives,
            "box": self.box_weight * losses.sum() / num_positives,
        }

    def _offset_losses(self, deltas: Tensor, wanted: Tensor) -> Tensor:
        """Return the losses (P,) of offsets (P, 5), the least of those to (P, 3, 5)."""
        deltas = deltas[:, None].expand_as(wanted)
        if self.box == "l1":
            losses = F.l1_loss(deltas, wanted, reduction="none")
        else:
            losses = F.smooth_l1_loss(deltas, wanted, beta=self.beta, reduction="none")
        return losses.mean(dim=2).amin(dim=1)


def _equivalents(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Return offsets (P, 5) of boxes, and those of the same ones turned to either side, (P, 3, 5).

    Turned by a right angle, a box has the same corners with its sides in each other's place.
    """
    ratio = (anchors[:, 2:4] / anchors[:, [3, 2]]).log()
    swapped = deltas[:, [3, 2]] - ratio
    turns = deltas.new_tensor([-math.pi / 2, math.pi / 2])
    turned = [torch.cat([deltas[:, :2], swapped, deltas[:, 4:] + turn], dim=1) for turn in turns]
    return torch.stack([deltas, *turned], dim=1)
