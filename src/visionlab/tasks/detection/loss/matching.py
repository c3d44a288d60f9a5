"""Matching of anchors to boxes for a whole batch, without computing the IoU of every pair.

An IoU of at least t bounds the differences of sides and centres. These bounds exclude most pairs;
the IoU is computed for the others.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

from visionlab.core.boxes import areas, centres_and_sizes, intersections

_SLACK = 1e-4  # tolerance of the bounds, which are computed in float32
_CHUNK = 2**24  # cells compared at a time


class Matches(NamedTuple):
    """Positive and ignored anchors.

    Attributes:
        positives: image, anchor and box of each positive anchor, (P,) int64 each, ordered by image
            and anchor.
        ignored: image and anchor of anchors between the thresholds, (I,) int64 each.
    """

    positives: tuple[Tensor, Tensor, Tensor]
    ignored: tuple[Tensor, Tensor]


class _Pairs(NamedTuple):
    """Overlapping anchors and boxes: row of the box in a flat list, anchor, IoU."""

    box: Tensor
    anchor: Tensor
    iou: Tensor


@torch.no_grad()
def match(
    boxes: Tensor,
    is_box: Tensor,
    anchors: Tensor,
    level_shapes: Sequence[tuple[int, int]],
    *,
    positive_iou: float,
    negative_iou: float,
    force_best_anchor: bool,
) -> Matches:
    """Match each anchor with the box of the highest IoU, the first of equals.

    An anchor is positive from `positive_iou` on, background below `negative_iou`, and ignored in
    between (arXiv 1708.02002, section 4).

    Args:
        boxes: (B, K, 4) as x1, y1, x2, y2.
        is_box: (B, K) bool, False for padding.
        anchors: (A, 4), ordered as in `DenseOutput`.
        level_shapes: rows and columns of each level.
        positive_iou: see above.
        negative_iou: see above, above 0.
        force_best_anchor: also match each box with its anchor of the highest IoU, the first of
            equals, however low it is; the first box wins if boxes share an anchor.
    """
    images, numbers = is_box.nonzero(as_tuple=True)
    flat = boxes[images, numbers]
    pairs = _near_pairs(flat, anchors, level_shapes, min_iou=negative_iou)
    if force_best_anchor:
        pairs = _with_best_anchors(pairs, flat, anchors)
    best = _best_of_anchors(pairs, images, num_anchors=len(anchors))
    is_positive = best.iou >= positive_iou
    positive = _Pairs(*(column[is_positive] for column in best))
    return Matches(
        positives=(images[positive.box], positive.anchor, numbers[positive.box]),
        ignored=(images[best.box[~is_positive]], best.anchor[~is_positive]),
    )


def _near_pairs(
    boxes: Tensor, anchors: Tensor, level_shapes: Sequence[tuple[int, int]], *, min_iou: float
) -> _Pairs:
    """Return the pairs of anchors and boxes, (M, 4), whose IoU is at least `min_iou`."""
    per_cell = len(anchors) // sum(rows * columns for rows, columns in level_shapes)
    found, start = [], 0
    for rows, columns in level_shapes:
        level = anchors[start : start + rows * columns * per_cell].view(rows, columns, per_cell, 4)
        box, row, column, cell = _near_cells(boxes, level, min_iou=min_iou)
        found.append((box, start + (row * columns + column) * per_cell + cell))
        start += rows * columns * per_cell
    box, anchor = (torch.cat(parts) for parts in zip(*found, strict=True))
    boxes, anchors = boxes[box], anchors[anchor]
    common = intersections(boxes, anchors)
    overlap = common / (areas(boxes) + areas(anchors) - common)
    is_enough = overlap >= min_iou
    return _Pairs(box[is_enough], anchor[is_enough], overlap[is_enough])


def _near_cells(
    boxes: Tensor, level: Tensor, *, min_iou: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return box, row, column and number in its cell of anchors that may overlap enough.

    Anchors are (rows, columns, per_cell, 4). An IoU of t means an intersection of t / (1 + t) times
    the sum of both areas, which bounds the distance of the centres.
    """
    box_centres, box_sizes = centres_and_sizes(boxes)
    anchor_sizes = centres_and_sizes(level[0, 0])[1]
    xs = centres_and_sizes(level[0])[0][..., 0]  # (columns, per_cell)
    ys = centres_and_sizes(level[:, 0])[0][..., 1]  # (rows, per_cell)
    common = torch.minimum(box_sizes[:, None], anchor_sizes)  # (M, per_cell, 2), upper bound
    area = min_iou / (1.0 + min_iou) * (areas(boxes)[:, None] + areas(level[0, 0]))
    needed = area[..., None] / common.flip(-1)  # width and height of the intersection
    box, cell = (needed <= common * (1.0 + _SLACK)).all(dim=-1).nonzero(as_tuple=True)
    reach = (box_sizes[box] + anchor_sizes[cell]) / 2 - needed[box, cell] * (1.0 - _SLACK)
    is_near_x = (xs[:, cell].T - box_centres[box, :1]).abs() <= reach[:, :1]
    is_near_y = (ys[:, cell].T - box_centres[box, 1:]).abs() <= reach[:, 1:]
    step = max(1, _CHUNK // max(1, is_near_x.shape[1] * is_near_y.shape[1]))
    parts = []
    for first in range(0, max(1, len(box)), step):
        chunk = slice(first, first + step)
        near = is_near_y[chunk, :, None] & is_near_x[chunk, None, :]
        pair, row, column = near.nonzero(as_tuple=True)
        parts.append((box[chunk][pair], row, column, cell[chunk][pair]))
    box, row, column, cell = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return box, row, column, cell


def _best_of_anchors(pairs: _Pairs, images: Tensor, *, num_anchors: int) -> _Pairs:
    """Return the box of the highest IoU for each anchor of each image, the first of equals."""
    order = pairs.box.argsort(stable=True)
    order = order[pairs.iou[order].argsort(descending=True, stable=True)]
    place = images[pairs.box] * num_anchors + pairs.anchor
    order = order[place[order].argsort(stable=True)]
    is_first = torch.ones_like(order, dtype=torch.bool)
    is_first[1:] = place[order][1:] != place[order][:-1]
    return _Pairs(*(column[order[is_first]] for column in pairs))


def _with_best_anchors(pairs: _Pairs, boxes: Tensor, anchors: Tensor) -> _Pairs:
    """Add the best anchor of each box, with an infinite IoU."""
    step = max(1, _CHUNK // len(anchors))
    best = [box_iou(part, anchors).argmax(dim=1) for part in torch.split(boxes, step)]
    anchor = torch.cat([pairs.anchor, *best])
    box = torch.cat([pairs.box, torch.arange(len(boxes), device=boxes.device)])
    iou = torch.cat([pairs.iou, pairs.iou.new_full((len(boxes),), torch.inf)])
    return _Pairs(box, anchor, iou)
