"""Non-maximum suppression of oriented boxes."""

import torch
from torch import Tensor

from visionlab.core.oriented_boxes import corners
from visionlab.core.polygons import bounds, iou


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
    polygons, groups = corners(boxes[order].double()), groups[order]
    first, second = _near_pairs(bounds(polygons), groups)
    overlaps = iou(polygons[first], polygons[second]) > iou_threshold
    first, second = first[overlaps], second[overlaps]
    # rows whose better rows have all been decided are final, at least one more each time
    is_kept = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    while True:
        suppressed = torch.zeros_like(is_kept)
        suppressed[second[is_kept[first]]] = True
        if torch.equal(is_kept, ~suppressed):
            return order[is_kept].sort().values
        is_kept = ~suppressed


def _near_pairs(limits: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pairs of a group, (P,) each, the lower row first, whose upright boxes overlap.

    Groups lie side by side, so that sorting the left sides finds the pairs of all of them at once.
    """
    if not len(groups):
        return groups.long(), groups.long()
    left, right = limits[:, 0], limits[:, 2]
    apart = (right.max() - left.min() + 1.0) * groups.double()
    order = (left + apart).argsort()
    # those that start before this one ends; each pair is found from the one that starts first
    ends = torch.searchsorted((left + apart)[order], (right + apart)[order])
    starts = torch.arange(1, len(order) + 1, device=limits.device)
    counts = (ends - starts).clamp(min=0)
    one = torch.arange(len(order), device=limits.device).repeat_interleave(counts)
    within = torch.arange(len(one), device=limits.device) - (counts.cumsum(0) - counts)[one]
    one, other = order[one], order[starts[one] + within]
    is_near = (limits[one, 1] < limits[other, 3]) & (limits[other, 1] < limits[one, 3])
    one, other = one[is_near], other[is_near]
    return torch.minimum(one, other), torch.maximum(one, other)
