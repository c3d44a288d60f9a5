"""Non-maximum suppression of oriented boxes."""

import torch
from torch import Tensor

from visionlab.core.oriented_boxes import enclosing, iou
from visionlab.tasks.detection.oriented.pairs import near_pairs


def oriented_nms(boxes: Tensor, scores: Tensor, groups: Tensor, *, iou_threshold: float) -> Tensor:
    """Return the rows that NMS within each group keeps, (K,) int64 ascending.

    Greedy: a box is suppressed if its IoU with a kept box of its group with a higher score, or an
    equal one and a lower row, is above the threshold.

    Args:
        boxes: (N, 5), see `core.oriented_boxes`.
        scores: (N,).
        groups: (N,) int64, image and class in one number.
        iou_threshold: see above.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, groups = boxes[order].double(), groups[order]
    first, second = near_pairs(enclosing(boxes), groups)
    overlaps = iou(boxes, boxes, first, second) > iou_threshold
    first, second = first[overlaps], second[overlaps]
    # rows whose better rows have all been decided are final, at least one more each time
    is_kept = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    while True:
        suppressed = torch.zeros_like(is_kept)
        suppressed[second[is_kept[first]]] = True
        if torch.equal(is_kept, ~suppressed):
            return order[is_kept].sort().values
        is_kept = ~suppressed
