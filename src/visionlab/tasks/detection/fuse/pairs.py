"""Pairs of overlapping boxes, for all images and classes at once.

Boxes are the columns of (4, N) arrays, x1, y1, x2, y2; their sides are above 0.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from visionlab.tasks.detection.fuse.candidates import Candidates, Floats, Ints

_PAIRS_AT_ONCE = 2**20  # bounds memory


class Overlaps(NamedTuple):
    """Pairs of candidates of one image and label that overlap.

    Attributes:
        better: (P,), rows of the candidates that come first in the canonical order.
        worse: (P,), rows of those that come later.
        ious: (P,), their intersections over unions.
    """

    better: Ints
    worse: Ints
    ious: Floats


def overlaps(candidates: Candidates, *, iou_threshold: float) -> Overlaps:
    """Return the pairs with an IoU above a threshold."""
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for better, worse in touching_pairs(candidates.boxes, candidates.groups):
        iou = ious(candidates.boxes, better, candidates.boxes, worse)
        rows = np.flatnonzero(iou > iou_threshold)
        parts.append((better[rows], worse[rows], iou[rows]))
    return Overlaps(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def touching_pairs(boxes: Floats, groups: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield blocks of pairs of rows of one group whose boxes touch or overlap, lower row first.

    In the order of left sides, the boxes whose left side is inside a box follow it immediately.
    """
    count = len(groups)
    places = np.arange(count)
    by_left = np.argsort(boxes[0])
    keys = groups * (count + 1)
    right_keys = keys.copy()  # sorted values are found faster
    right_keys[by_left] += np.searchsorted(boxes[0, by_left], boxes[2, by_left], side="right")
    keys[by_left] += places  # by group, then left side
    order = np.argsort(keys)
    keys, right_keys = keys[order], right_keys[order]
    top, bottom = boxes[1].take(order), boxes[3].take(order)
    counts = np.searchsorted(keys, right_keys) - places - 1
    totals = np.cumsum(counts)
    shifts = places + 1 - (totals - counts)  # from the number of a pair to its second box
    begin = done = 0
    while begin < count:
        end = max(begin + 1, int(np.searchsorted(totals, done + _PAIRS_AT_ONCE)))
        block = slice(begin, end)
        one = np.repeat(places[block], counts[block])
        other = np.arange(done, done + len(one)) + np.repeat(shifts[block], counts[block])
        is_near = (top.take(one) <= bottom.take(other)) & (top.take(other) <= bottom.take(one))
        pairs = np.flatnonzero(is_near)
        one, other = order.take(one.take(pairs)), order.take(other.take(pairs))
        yield np.minimum(one, other), np.maximum(one, other)
        begin, done = end, int(totals[end - 1])


def ious(boxes: Floats, rows: Ints, others: Floats, other_rows: Ints) -> Floats:
    """Return the intersections over unions of rows of boxes and rows of others, (P,)."""
    left, top, right, bottom = boxes.take(rows, axis=1)
    left2, top2, right2, bottom2 = others.take(other_rows, axis=1)
    width = np.minimum(right, right2) - np.maximum(left, left2)
    height = np.minimum(bottom, bottom2) - np.maximum(top, top2)
    common = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    areas = (right - left) * (bottom - top) + (right2 - left2) * (bottom2 - top2)
    overlap: Floats = common / (areas - common)
    return overlap
