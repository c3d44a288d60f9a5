"""Clusters of oriented boxes with mean boxes, for all images and classes at once.

Boxes are the columns of (5, N) arrays, see `core.oriented_boxes`.
"""

from typing import NamedTuple

import numpy as np
import torch

from visionlab.core.oriented_boxes import canonical, enclosing, iou
from visionlab.tasks.detection.fuse.candidates import Bools, Candidates, Floats, Ints, safe_shares
from visionlab.tasks.detection.fuse.clusters import best_clusters, running_sums
from visionlab.tasks.detection.oriented.pairs import near_pairs

_PAIRS_AT_ONCE = 2**18  # bounds memory
_SLACK = 1e-9  # of an IoU, for rounding


class Clusters(NamedTuple):
    """Clusters of boxes.

    Attributes:
        seeds: (N,), the row of the first box of each box's cluster.
        is_turned: (N,), which boxes take part in the mean turned by a right angle, with their sides
            in each other's place. Half a turn would change nothing.
    """

    seeds: Ints
    is_turned: Bools


def find_clusters(candidates: Candidates, *, iou_threshold: float) -> Clusters:
    """Return the clusters of oriented boxes.

    In canonical order, each box joins the cluster of its image and label whose mean box, weighted
    by scores, has the highest IoU with it, if that is above the threshold; of several, the oldest.
    Otherwise it opens a cluster. It is turned if that brings its corners nearer to those of the
    mean box that it joins.

    Boxes need not be visited one by one, as in `fuse.clusters`. Each round finds what all boxes
    would do if the clusters of all better boxes were right. The first change in a group is right,
    since nothing before it changes, so the next round only looks at the boxes after it.
    """
    boxes, scores, groups = candidates.boxes, candidates.scores, candidates.groups
    rows = np.arange(len(scores))
    clusters = Clusters(rows, np.zeros(len(rows), dtype=bool))
    is_open = np.ones(len(rows), dtype=bool)
    pairs: tuple[Ints, Ints] | None = _first_pairs(boxes, groups)
    while is_open.any():
        sums, followers = running_sums(_terms(boxes, scores, clusters), clusters.seeds)
        if pairs is None:
            pairs = _next_pairs(groups, followers, is_open)
        joined = _join(clusters.seeds, _means(sums), boxes, *pairs, iou_threshold=iou_threshold)
        found = Clusters(*(np.where(is_open, *each) for each in zip(joined, clusters, strict=True)))
        is_open = rows > _first_changes(groups, clusters, found)[groups]
        clusters, pairs = found, None
    return clusters


def mean_boxes(candidates: Candidates, clusters: Clusters) -> tuple[Floats, Ints]:
    """Return the canonical mean boxes of clusters, (5, K), and their seeds, (K,), ascending."""
    rows, numbers = np.unique(clusters.seeds, return_inverse=True)
    terms = _terms(candidates.boxes, candidates.scores, clusters)
    sums: Floats = np.stack([np.bincount(numbers, term, minlength=len(rows)) for term in terms])
    means = canonical(torch.from_numpy(_means(sums).T)).numpy()
    return np.ascontiguousarray(means.T), rows


def _first_pairs(boxes: Floats, groups: Ints) -> tuple[Ints, Ints]:
    """Return the pairs of boxes of a group whose bounds overlap, (P,) each."""
    limits = enclosing(torch.from_numpy(boxes.T.copy()))
    better, worse = near_pairs(limits, torch.from_numpy(groups))
    return better.numpy(), worse.numpy()


def _next_pairs(groups: Ints, followers: Ints, is_open: Bools) -> tuple[Ints, Ints]:
    """Return pairs of a box and a later one of its group that may join its cluster next, (P,) each.

    Until then, no other box joins it. The open boxes, which may join, are the last of their groups;
    `followers` are those of `running_sums`.
    """
    ends = np.searchsorted(groups, groups, side="right")
    num_open = np.bincount(groups, is_open).astype(np.int64)[groups]
    begins = np.maximum(np.arange(len(groups)) + 1, ends - num_open)
    counts = np.maximum(np.minimum(followers + 1, ends) - begins, 0)
    better = np.repeat(np.arange(len(groups)), counts)
    shifts = begins - (np.cumsum(counts) - counts)
    return better, np.arange(len(better)) + shifts[better]


def _first_changes(groups: Ints, clusters: Clusters, found: Clusters) -> Ints:
    """Return the first row of each group that changes, (G,), N if there is none."""
    first = np.full(groups.max(initial=0) + 1, len(groups))
    is_changed = (found.seeds != clusters.seeds) | (found.is_turned != clusters.is_turned)
    rows = np.flatnonzero(is_changed)
    np.minimum.at(first, groups[rows], rows)
    return first


def _join(
    seeds: Ints, means: Floats, boxes: Floats, better: Ints, worse: Ints, *, iou_threshold: float
) -> Clusters:
    """Return the clusters that boxes join.

    Args:
        seeds: (N,), the first row of the cluster of each box, as far as it is known.
        means: (5, N), the mean box of that cluster once the box has joined it.
        boxes: (5, N).
        better: (P,), rows of means.
        worse: (P,), rows of boxes that may join them.
        iou_threshold: as in `find_clusters`.
    """
    rows = _near(means, boxes, better, worse, iou_threshold=iou_threshold)
    better, worse = better[rows], worse[rows]
    ours, theirs, *pairs = map(torch.from_numpy, (means.T.copy(), boxes.T.copy(), better, worse))
    ious = iou(ours, theirs, *pairs).numpy()
    rows = np.flatnonzero(ious > iou_threshold)
    better, worse = better[rows], worse[rows]
    joined = best_clusters(seeds, better, worse, ious[rows])
    rows = np.flatnonzero(seeds[better] == joined[worse])
    is_turned = np.zeros(len(seeds), dtype=bool)
    is_turned[worse[rows]] = _is_turned(boxes[:, worse[rows]], means[:, better[rows]])
    return Clusters(joined, is_turned)


def _near(means: Floats, boxes: Floats, better: Ints, worse: Ints, *, iou_threshold: float) -> Ints:
    """Return the pairs whose IoU may be above the threshold, by areas and upright bounds."""
    ours, theirs = (
        np.stack([*enclosing(torch.from_numpy(each.T.copy())).numpy().T, each[2] * each[3]])
        for each in (means, boxes)
    )
    found = [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(better), _PAIRS_AT_ONCE):
        block = slice(start, start + _PAIRS_AT_ONCE)
        left, top, right, bottom, area = ours.take(better[block], axis=1)
        left2, top2, right2, bottom2, area2 = theirs.take(worse[block], axis=1)
        width = np.minimum(right, right2) - np.maximum(left, left2)
        height = np.minimum(bottom, bottom2) - np.maximum(top, top2)
        common = np.maximum(width, 0.0) * np.maximum(height, 0.0)
        common = np.minimum(common, np.minimum(area, area2))
        is_near = common >= (iou_threshold - _SLACK) * (area + area2 - common)
        found.append(start + np.flatnonzero(is_near & (common > 0)))
    return np.concatenate(found)


def _terms(boxes: Floats, scores: Floats, clusters: Clusters) -> Floats:
    """Return what the means of boxes sum up, (7, N)."""
    shares = safe_shares(scores, clusters.seeds)
    x, y, width, height, angle = boxes
    first = np.where(clusters.is_turned, height, width)
    second = np.where(clusters.is_turned, width, height)
    signs = np.where(clusters.is_turned, -1.0, 1.0)
    # unit vectors of twice the angle, since half a turn changes nothing
    sin, cos = signs * np.sin(2.0 * angle), signs * np.cos(2.0 * angle)
    terms: Floats = shares * np.stack([x, y, first, second, sin, cos, np.ones_like(x)])
    return terms


def _means(sums: Floats) -> Floats:
    """Return the mean boxes (5, N) of sums (7, N), not canonical."""
    angles = np.arctan2(sums[4], sums[5]) / 2.0
    return np.concatenate([sums[:4] / sums[6], angles[None]])


def _is_turned(boxes: Floats, references: Floats) -> Bools:
    """Return which boxes (5, P) are nearer to references by their corners if turned, (P,).

    The sum of squared distances falls with the sum of the products of the corners about the
    centres, which is (w w' + h h') cos(angle between the boxes); half a turn changes its sign.
    """
    angle = boxes[4] - references[4]
    width, height, width2, height2 = *boxes[2:4], *references[2:4]
    straight = np.abs(np.cos(angle)) * (width * width2 + height * height2)
    turned = np.abs(np.sin(angle)) * (height * width2 + width * height2)
    is_nearer: Bools = turned > straight
    return is_nearer
