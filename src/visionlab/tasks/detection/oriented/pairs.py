"""Pairs of boxes whose upright bounds overlap, for all images and classes at once."""

import torch
from torch import Tensor


def near_pairs(limits: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pairs of rows of a group that overlap, (P,) int64 each, the lower row first.

    Groups lie side by side, so that sorting the left sides finds the pairs of all of them at once.

    Args:
        limits: (N, 4) as x1, y1, x2, y2.
        groups: (N,) int64, image and class in one number.
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
