"""Clusters of oriented boxes with mean boxes, for all images and classes at once."""

import math

import torch
from torch import Tensor

from visionlab.core.oriented_boxes import canonical, corners, enclosing
from visionlab.core.polygons import iou

_QUARTERS = torch.arange(4, dtype=torch.float64) * math.pi / 2


def cluster(
    boxes: Tensor, shares: Tensor, groups: Tensor, *, iou_threshold: float
) -> tuple[Tensor, Tensor]:
    """Return the number of each box's cluster, (N,) int64, and the mean boxes of clusters, (K, 5).

    One after another, each box of a group joins the cluster whose mean box it overlaps most, of
    equals the oldest, if their IoU is above the threshold, or opens one. The groups take these
    steps together.

    Args:
        boxes: (N, 5) float64, see `core.oriented_boxes`; ordered by group, then as they join.
        shares: (N,) float64, weights of the boxes in the means, above 0.
        groups: (N,) int64, ascending numbers without gaps from 0.
        iou_threshold: see above.
    """
    sizes = groups.bincount()
    starts = sizes.cumsum(0) - sizes
    longest = int(sizes.max()) if len(sizes) else 0
    sums = boxes.new_zeros(len(sizes), longest, 7)
    means = boxes.new_zeros(len(sizes), longest, 5)
    counts = torch.zeros_like(sizes)
    places = torch.zeros_like(groups)
    for step in range(longest):
        active = (sizes > step).nonzero()[:, 0]
        rows = starts[active] + step
        joining = boxes[rows]
        overlaps = _overlaps(joining, means[active], counts[active])
        highest = overlaps.amax(dim=1)
        joins = highest > iou_threshold
        first = (overlaps == highest[:, None]).int().argmax(dim=1)
        place = torch.where(joins, first, counts[active])
        counts[active] += (~joins).long()
        reference = torch.where(joins[:, None], means[active, place], joining)
        sums[active, place] += _terms(align(joining, reference), shares[rows])
        means[active, place] = _mean(sums[active, place])
        places[rows] = place
    firsts = counts.cumsum(0) - counts
    is_used = torch.arange(longest) < counts[:, None]
    return firsts[groups] + places, means[is_used]


def align(boxes: Tensor, references: Tensor) -> Tensor:
    """Return the numbers of boxes (N, 5) whose corners are nearest to those of references."""
    x, y, width, height, angle = (part.expand(4, -1) for part in boxes.T[:, None])
    is_odd = torch.tensor([False, True, False, True])[:, None]
    sides = torch.where(is_odd, height, width), torch.where(is_odd, width, height)
    options = torch.stack([x, y, *sides, angle + _QUARTERS[:, None]], dim=-1)
    distances = (corners(options) - corners(references)).square().sum(dim=(-2, -1))
    return options[distances.argmin(dim=0), torch.arange(len(boxes))]


def _overlaps(boxes: Tensor, means: Tensor, counts: Tensor) -> Tensor:
    """Return the IoU of boxes (A, 5) with the first `counts` of means (A, M, 5), (A, M)."""
    found = boxes.new_zeros(means.shape[:2])
    is_cluster = torch.arange(means.shape[1]) < counts[:, None]
    left, top, right, bottom = enclosing(boxes)[:, None].unbind(-1)
    x1, y1, x2, y2 = enclosing(means).unbind(-1)
    is_near = (left < x2) & (x1 < right) & (top < y2) & (y1 < bottom)
    row, place = (is_cluster & is_near).nonzero(as_tuple=True)
    found[row, place] = iou(corners(boxes[row]), corners(means[row, place]))
    return found


def _terms(boxes: Tensor, shares: Tensor) -> Tensor:
    """Return what the mean of aligned boxes (N, 5) sums up, (N, 7)."""
    twice = 2.0 * boxes[:, 4]
    parts = torch.stack([*boxes[:, :4].T, twice.sin(), twice.cos(), torch.ones_like(twice)], dim=1)
    return parts * shares[:, None]


def _mean(sums: Tensor) -> Tensor:
    """Return the canonical mean boxes (N, 5) of sums (N, 7)."""
    angles = torch.atan2(sums[:, 4], sums[:, 5]) / 2.0
    return canonical(torch.cat([sums[:, :4] / sums[:, 6:], angles[:, None]], dim=1))
