"""Pairs of boxes that overlap, of all images and classes at once."""

from collections.abc import Iterator

import numpy as np

from visionlab.tasks.detection.fuse.candidates import Bools, Candidates, Floats, Ints

_PAIRS_AT_ONCE = 2**20


def overlapping_pairs(boxes: Floats, groups: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield pairs of rows of one group whose boxes (4, N) touch or overlap; the lower row first.

    A sweep over x: the boxes that start inside a box follow it in the order of their left sides.
    """
    left = np.sort(boxes[0])
    first_key = groups * (len(groups) + 1)
    starts = first_key + np.searchsorted(left, boxes[0], side="left")
    order = np.argsort(starts, kind="stable")
    starts, boxes = starts[order], boxes[:, order]
    ends = first_key[order] + np.searchsorted(left, boxes[2], side="right")
    num_inside = np.searchsorted(starts, ends) - np.arange(len(order)) - 1
    totals = np.cumsum(num_inside)
    begin = done = 0
    while begin < len(order):
        end = max(begin + 1, int(np.searchsorted(totals, done + _PAIRS_AT_ONCE)))
        counts = num_inside[begin:end]
        one = np.repeat(np.arange(begin, end), counts)
        other = np.arange(len(one)) + np.repeat(
            np.arange(begin, end) + 1 + done - totals[begin:end] + counts, counts
        )
        is_near = (boxes[1, one] <= boxes[3, other]) & (boxes[1, other] <= boxes[3, one])
        rows = np.flatnonzero(is_near)
        one, other = order[one[rows]], order[other[rows]]
        yield np.minimum(one, other), np.maximum(one, other)
        begin, done = end, int(totals[end - 1])


def ious(boxes: Floats, others: Floats) -> Floats:
    """Return the intersections over unions of boxes (4, P) with others (4, P), (P,)."""
    low, high = np.maximum(boxes[:2], others[:2]), np.minimum(boxes[2:], others[2:])
    common = areas(np.concatenate([low, high]))
    return common / (areas(boxes) + areas(others) - common)


def areas(boxes: Floats) -> Floats:
    """Return the areas of boxes (4, P), (P,); 0 if a side is negative."""
    sizes = np.maximum(boxes[2:] - boxes[:2], 0.0)
    return sizes[0] * sizes[1]


class Overlaps:
    pass


def overlaps(candidates: Candidates, iou_threshold: float) -> tuple[Ints, Ints, Floats]:
    """Return the pairs of boxes of one class with an IoU above a threshold, and their IoU."""
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for better, worse in overlapping_pairs(candidates.boxes, candidates.groups):
        iou = ious(candidates.boxes[:, better], candidates.boxes[:, worse])
        rows = np.flatnonzero(iou > iou_threshold)
        parts.append((better[rows], worse[rows], iou[rows]))
    better, worse, iou = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return better, worse, iou


def suppress(better: Ints, worse: Ints, *, count: int) -> Bools:
    """Return which of `count` boxes non-maximum suppression keeps, given pairs that overlap.

    All boxes without a better one that is still undecided are kept at once.
    """
    is_kept = np.ones(count, dtype=bool)
    while len(better):
        is_waiting = np.zeros(count, dtype=bool)
        is_waiting[worse] = True
        is_kept[worse[~is_waiting[better]]] = False
        undecided = is_waiting[better] & is_kept[better] & is_kept[worse]
        better, worse = better[undecided], worse[undecided]
    return is_kept
