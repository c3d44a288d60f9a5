"""Losses of one-stage detection."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from visionlab.core.boxes import decode, encode
from visionlab.core.checks import check_at_least, check_choice, check_positive, check_range
from visionlab.tasks.detection.loss.focal import focal_loss
from visionlab.tasks.detection.loss.matching import match
from visionlab.tasks.detection.oriented.loss import oriented_box_loss
from visionlab.tasks.detection.records import BoxTargets, DenseOutput

BoxLoss = Literal["smooth_l1", "l1", "giou"]


@dataclass(frozen=True, kw_only=True)
class RetinaNetLoss:
    """Focal loss of classes and a loss of boxes, divided by the number of positives of the batch.

    RetinaNet, arXiv 1708.02002, sections 3 and 4. The batch is that of one forward pass. The
    divisor is at least 1. Computed in float32, whatever the type of the outputs.

    If the model has five offsets, boxes are oriented. Anchors are upright and matched with the
    upright boxes around them, as in RetinaNet-H (R3Det, arXiv 1908.05612, section 4.1).

    Attributes:
        alpha: weight of the positive class in the focal loss; that of the negative one is
            1 - alpha.
        gamma: exponent of the focal loss; 0 is weighted cross-entropy.
        positive_iou: anchors with at least this IoU with a box are positive.
        negative_iou: anchors below this IoU with all boxes are background; those in between are
            ignored.
        force_best_anchor: also match each box with its anchor of the highest IoU, however low it
            is; the first box wins if boxes share an anchor.
        box: `smooth_l1`, `l1` (the mean over a box's offsets, divided by the model's `box_std`), or
            `giou` (arXiv 1902.09630, of upright boxes).
        beta: difference at which `smooth_l1` changes from quadratic to linear.
        box_weight: weight of the loss of boxes.
    """

    is_per_sample: ClassVar[bool] = False
    alpha: float
    gamma: float
    positive_iou: float
    negative_iou: float
    force_best_anchor: bool
    box: BoxLoss
    beta: float
    box_weight: float

    def __post_init__(self) -> None:
        check_range(self, "[0, 1]", "alpha")
        check_at_least(self, 0, "gamma", "box_weight")
        check_matching_iou(positive_iou=self.positive_iou, negative_iou=self.negative_iou)
        check_choice(self, get_args(BoxLoss), "box")
        check_positive(self, "beta")

    def __call__(self, outputs: DenseOutput, targets: BoxTargets) -> dict[str, Tensor]:
        """Return `classification` and `box`, scalars.

        Raises:
            ValueError: the outputs are those of oriented boxes, but the targets or `box` are not
                for them.
        """
        classification, positives = match_and_classify(
            outputs,
            targets,
            alpha=self.alpha,
            gamma=self.gamma,
            positive_iou=self.positive_iou,
            negative_iou=self.negative_iou,
            force_best_anchor=self.force_best_anchor,
        )
        num_positives = max(1, len(positives[0]))
        box = self._box_loss(outputs, targets, positives)
        return {
            "classification": classification / num_positives,
            "box": self.box_weight * box / num_positives,
        }

    def _box_loss(
        self, outputs: DenseOutput, targets: BoxTargets, positives: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        """Return the sum of the losses of the boxes of positive anchors."""
        image, anchor, number = positives
        deltas, anchors = outputs.deltas[image, anchor].float(), outputs.anchors[anchor]
        if not outputs.is_oriented:
            return self._upright_loss(
                deltas, targets.boxes[image, number], anchors, outputs.box_std
            )
        if targets.oriented is None:
            raise ValueError("dataset must have oriented boxes for this model, got upright ones")
        if self.box == "giou":
            raise ValueError("loss.box must be smooth_l1 or l1 for oriented boxes, got 'giou'")
        boxes = targets.oriented[image, number]
        return oriented_box_loss(
            deltas, boxes, anchors, outputs.box_std, kind=self.box, beta=self.beta
        )

    def _upright_loss(
        self, deltas: Tensor, boxes: Tensor, anchors: Tensor, box_std: Tensor
    ) -> Tensor:
        """Return the sum of the losses of upright boxes (P, 4)."""
        if self.box == "giou":
            found = decode(deltas * box_std, anchors)
            loss: Tensor = generalized_box_iou_loss(found, boxes, reduction="sum")
            return loss
        wanted = encode(boxes, anchors) / box_std
        if self.box == "l1":
            return F.l1_loss(deltas, wanted, reduction="sum") / 4
        return F.smooth_l1_loss(deltas, wanted, beta=self.beta, reduction="sum") / 4


def check_matching_iou(*, positive_iou: float, negative_iou: float) -> None:
    """Check the thresholds of `match`.

    Raises:
        ValueError: they are not in (0, 1], or the negative one is the higher one.
    """
    if not 0.0 < negative_iou <= positive_iou <= 1.0:
        raise ValueError(
            "negative_iou must be > 0 and <= positive_iou <= 1, "
            f"got negative_iou={negative_iou} positive_iou={positive_iou}"
        )


def match_and_classify(
    outputs: DenseOutput,
    targets: BoxTargets,
    *,
    alpha: float,
    gamma: float,
    positive_iou: float,
    negative_iou: float,
    force_best_anchor: bool,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Return the sum of the focal losses, and image, anchor and box of each positive anchor."""
    matches = match(
        targets.boxes,
        targets.labels >= 0,
        outputs.anchors,
        outputs.level_shapes,
        positive_iou=positive_iou,
        negative_iou=negative_iou,
        force_best_anchor=force_best_anchor,
    )
    image, anchor, number = matches.positives
    weights = torch.ones(outputs.logits.shape[:2], device=outputs.logits.device)
    weights[matches.ignored] = 0.0
    positives = image, anchor, targets.labels[image, number]
    losses = focal_loss(outputs.logits, weights, positives, alpha=alpha, gamma=gamma)
    return losses, matches.positives


@torch.no_grad()
def boxes_per_image(outputs: Any, targets: BoxTargets) -> dict[str, Tensor]:
    """Return the mean number of boxes per image after augmentation, a scalar, for plots."""
    return {"boxes_per_image": (targets.labels >= 0).sum(dim=1).float().mean()}
