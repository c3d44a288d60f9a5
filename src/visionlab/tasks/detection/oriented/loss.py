"""Loss of oriented boxes, whose numbers are not unique."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from visionlab.core import oriented_boxes

OffsetLoss = Literal["smooth_l1", "l1"]


def oriented_box_loss(
    deltas: Tensor,
    boxes: Tensor,
    anchors: Tensor,
    box_std: Tensor,
    *,
    kind: OffsetLoss,
    beta: float,
) -> Tensor:
    """Return the sum of the losses of oriented boxes, each a mean over five offsets.

    A box has the same corners if its sides change places and it turns by a right angle. The loss is
    that of the numbers nearest to the prediction, so none is punished for the right rectangle
    (RSDet, arXiv 1911.08299, equation 5).

    Args:
        deltas: (P, 5) float32, predicted offsets, divided by `box_std`.
        boxes: (P, 5), the true ones, see `core.oriented_boxes`.
        anchors: (P, 4) as x1, y1, x2, y2.
        box_std: (5,).
        kind: of the loss of an offset.
        beta: difference at which `smooth_l1` changes from quadratic to linear.
    """
    upright = oriented_boxes.from_boxes(anchors)
    wanted = _equivalents(oriented_boxes.encode(boxes, upright), upright) / box_std
    found = deltas[:, None].expand_as(wanted)
    if kind == "l1":
        losses = F.l1_loss(found, wanted, reduction="none")
    else:
        losses = F.smooth_l1_loss(found, wanted, beta=beta, reduction="none")
    return losses.mean(dim=2).amin(dim=1).sum()


def _equivalents(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Return offsets (P, 5) of boxes, and those of the same ones turned to either side, (P, 3, 5).

    Turned by a right angle, a box has the same corners with its sides in each other's place.
    """
    ratio = (anchors[:, 2:4] / anchors[:, [3, 2]]).log()
    swapped = deltas[:, [3, 2]] - ratio
    turns = deltas.new_tensor([-math.pi / 2, math.pi / 2])
    turned = [torch.cat([deltas[:, :2], swapped, deltas[:, 4:] + turn], dim=1) for turn in turns]
    return torch.stack([deltas, *turned], dim=1)
