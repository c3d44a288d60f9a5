"""Clusters of weighted boxes fusion, for all images and classes at once."""

import math

import numpy as np

from visionlab.tasks.detection.fuse.candidates import Candidates, Floats, Ints, safe_shares
from visionlab.tasks.detection.fuse.pairs import ious, touching_pairs


def find_clusters(candidates: Candidates, *, iou_threshold: float) -> Ints:
    """Return the row of the first box of each box's cluster, (N,).

    In canonical order, each box joins the cluster of its image and label whose mean box, weighted
    by scores, has the highest IoU with it, if that is above the threshold; of several, the oldest.
    Otherwise it opens a cluster.

    The boxes need not be visited one by one. Given clusters of all boxes, `_join` finds the one
    that each box would join if the clusters of all better boxes were right. What it finds for
    boxes whose better boxes are right is right, and only the right clusters are found again. So
    they are repeated until nothing changes, in few rounds, each in the groups that still change.
    """
    boxes, scores, groups = candidates.boxes, candidates.scores, candidates.groups
    better, worse = _near_pairs(boxes, groups, iou_threshold=iou_threshold)
    rows = np.arange(len(scores))
    seeds, result = rows, rows.copy()
    means, followers = boxes, np.full(len(rows), len(rows))  # each box alone
    while len(rows):
        pairs = np.flatnonzero(followers.take(better) >= worse)  # no other box joined in between
        joined = _join(
            means, boxes, seeds, better.take(pairs), worse.take(pairs), iou_threshold=iou_threshold
        )
        result[rows] = rows[joined]
        changes = np.zeros(int(groups[-1]) + 1, dtype=bool)
        changes[groups[joined != seeds]] = True
        is_open = changes[groups]
        kept, pairs = np.flatnonzero(is_open), np.flatnonzero(is_open[better])
        renumbered = np.cumsum(is_open) - 1
        better, worse = renumbered[better[pairs]], renumbered[worse[pairs]]
        seeds = renumbered[joined[kept]]
        boxes, scores, groups, rows = boxes[:, kept], scores[kept], groups[kept], rows[kept]
        means, followers = _running_means(boxes, scores, seeds)
    return result


def _near_pairs(boxes: Floats, groups: Ints, *, iou_threshold: float) -> tuple[Ints, Ints]:
    """Return the pairs of boxes of which one may join the cluster that the other joined last.

    Let F be the mean box of the cluster and t the threshold. On each axis, the overlap with F,
    divided by the hull, is above t for both boxes: it is at least the IoU, and since the last box
    joined, F has only moved towards it. So both sides are longer than t times that of F, which is
    longer than t times either: they differ by less than a factor of 1 / t^2. Also, both cover more
    than t of F. If t >= 1/2, they overlap; otherwise the gap between them is below 1 - 2t of F, and
    they touch if each grows by (1 - 2t) / 2t of its side at both ends.
    """
    sizes = boxes[2:] - boxes[:2]
    growth = max(0.5 / iou_threshold - 1.0, 0.0) if iou_threshold else math.inf
    grown = boxes + growth * np.concatenate([-sizes, sizes])
    ratio = iou_threshold**2
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for better, worse in touching_pairs(grown, groups):
        one, other = sizes.take(better, axis=1), sizes.take(worse, axis=1)
        is_alike = np.minimum(one, other) >= ratio * np.maximum(one, other)
        pairs = np.flatnonzero(is_alike[0] & is_alike[1])
        parts.append((better[pairs], worse[pairs]))
    better, worse = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return better, worse


def _join(
    means: Floats, boxes: Floats, seeds: Ints, better: Ints, worse: Ints, *, iou_threshold: float
) -> Ints:
    """Return the row of the first box of the cluster that each box joins, (N,).

    Args:
        means: (4, N), the mean box of each box's cluster once it has joined.
        boxes: (4, N), in canonical order.
        seeds: (N,), the first row of the cluster of each box, as far as it is known.
        better: (P,), rows of near pairs, between which no box joins the better one's cluster.
        worse: (P,), likewise.
        iou_threshold: as in `find_clusters`.
    """
    iou = ious(means, better, boxes, worse)
    pairs = np.flatnonzero(iou > iou_threshold)
    return best_clusters(seeds, better.take(pairs), worse.take(pairs), iou.take(pairs))


def best_clusters(seeds: Ints, better: Ints, worse: Ints, iou: Floats) -> Ints:
    """Return the row of the first box of the cluster that each box joins, (N,).

    Args:
        seeds: (N,), the first row of the cluster of each box, as far as it is known.
        better: (P,), rows after which a cluster is such that
        worse: (P,) may join it, a row below.
        iou: (P,), above the threshold; a box joins the cluster of the highest, of several, the
            oldest.
    """
    best = np.zeros(len(seeds))
    np.maximum.at(best, worse, iou)
    is_best = iou == best.take(worse)
    joined = np.where(best > 0, len(seeds), np.arange(len(seeds)))
    np.minimum.at(joined, worse[is_best], seeds.take(better[is_best]))
    while (joined[joined] != joined).any():  # a seed may itself have joined a cluster
        joined = joined[joined]
    return joined


def _running_means(boxes: Floats, scores: Floats, seeds: Ints) -> tuple[Floats, Ints]:
    """Return the mean box of a cluster once each box has joined it, (4, N), and who joins next."""
    shares = safe_shares(scores, seeds)
    sums, followers = running_sums(np.concatenate([boxes * shares, shares[None]]), seeds)
    return sums[:4] / sums[4], followers


def running_sums(terms: Floats, seeds: Ints) -> tuple[Floats, Ints]:
    """Return sums over each box and the better ones of its cluster, and who joins next.

    Terms and sums are (T, N); the row of the box that joins next is (N,), N if there is none. Sums
    are taken within each cluster by doubling, so that they do not depend on other clusters.
    """
    count = len(seeds)
    order = np.argsort(seeds * count + np.arange(count))  # stable, and faster than a stable sort
    starts = np.flatnonzero(np.diff(seeds[order], prepend=-1))
    places = np.arange(count) - np.repeat(starts, np.diff(starts, append=count))
    later = np.flatnonzero(places)
    followers = np.full(count, count)
    followers[order[later - 1]] = order[later]
    ordered = terms.take(order, axis=1)
    step = 1
    while step <= places.max(initial=0):
        ahead, behind = ordered[:, step:], ordered[:, :-step]
        np.add(ahead, behind, out=ahead, where=places[step:] >= step)
        step *= 2
    sums = np.empty_like(ordered)
    sums[:, order] = ordered
    return sums, followers
