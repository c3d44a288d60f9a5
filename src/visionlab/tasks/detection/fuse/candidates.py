"""Detections of several members as arrays, and arithmetic of their clusters.

Boxes are the columns of (4, N) arrays, x1, y1, x2, y2 in pixels of the original image, or of (5, N)
arrays, cx, cy, w, h and an angle, see `core.oriented_boxes`.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionlab.tasks.detection.records import Detections

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
ToColumns = Callable[[Tensor], tuple[Floats, Bools]]


class Candidates(NamedTuple):
    """Boxes of several images, in canonical order, which does not depend on the order of members.

    They are ordered by image, label, falling score, box coordinates and weight. Boxes that are
    still equal may be exchanged.

    Attributes:
        boxes: (4, N), or (5, N) of oriented boxes.
        scores: (N,), multiplied by the relative weight of the member.
        weights: (N,), the relative weight of the member.
        members: (N,), its number.
        images: (N,), the number of the image.
        labels: (N,).
        groups: (N,), numbers the pairs of image and label from 0.
    """

    boxes: Floats
    scores: Floats
    weights: Floats
    members: Ints
    images: Ints
    labels: Ints
    groups: Ints


class Fused(NamedTuple):
    """Fused boxes, in any order.

    Attributes:
        boxes: (4, K), or (5, K) of oriented boxes.
        scores: (K,).
        rows: (K,), a candidate with the image and label of each.
    """

    boxes: Floats
    scores: Floats
    rows: Ints


def mean_boxes(candidates: Candidates, seeds: Ints, *, shares: Floats) -> tuple[Floats, Ints]:
    """Return the weighted mean boxes of clusters, (4, K), and their seeds, (K,), ascending.

    Args:
        candidates: N boxes.
        seeds: (N,), the row of the best box of each candidate's cluster.
        shares: (N,), the weight of each candidate in its cluster.
    """
    rows, clusters = number_clusters(seeds)
    shares = safe_shares(shares, seeds)
    sums = [np.bincount(clusters, shares * sides) for sides in candidates.boxes]
    return np.stack(sums) / np.bincount(clusters, shares), rows


def number_clusters(seeds: Ints) -> tuple[Ints, Ints]:
    """Return the seed of each cluster, (K,), ascending, and the cluster of each box, (N,)."""
    is_seed = seeds == np.arange(len(seeds))
    return np.flatnonzero(is_seed), (np.cumsum(is_seed) - 1)[seeds]


def safe_shares(shares: Floats, seeds: Ints) -> Floats:
    """Return weights of boxes in their clusters, (N,), all 1 if those of a cluster are all 0.

    The seed, the row of the best box of a cluster, has the largest weight in it.
    """
    return np.where(shares[seeds] > 0, shares, 1.0)


def upright_columns(boxes: Tensor) -> tuple[Floats, Bools]:
    """Return boxes (N, 4) as columns, and which of them have an area, (N,)."""
    columns = np.ascontiguousarray(boxes.numpy().T, dtype=np.float64)
    has_area: Bools = np.all(columns[2:] > columns[:2], axis=0)
    return columns, has_area


def collect_candidates(
    members: Sequence[Sequence[Detections]],
    weights: Sequence[float],
    *,
    score_threshold: float,
    to_columns: ToColumns,
) -> Candidates:
    """Return the boxes of all images that are fused.

    Args:
        members: the detections of each member in each image.
        weights: of the members, relative to the largest.
        score_threshold: boxes with lower scores are dropped, as are boxes without area.
        to_columns: returns members' boxes as columns, and which of them have an area.
    """
    all_found = list(itertools.chain.from_iterable(members))
    counts = np.array([len(found.scores) for found in all_found])
    number = np.repeat(np.arange(len(all_found)), counts)
    member, image = np.divmod(number, len(members[0]))
    boxes, *rest = (torch.cat(parts).cpu() for parts in zip(*all_found, strict=True))
    scores, labels = (part.numpy() for part in rest)
    columns, has_area = to_columns(boxes)
    rows = np.flatnonzero((scores >= score_threshold) & has_area)
    member, image, labels = member[rows], image[rows], labels[rows]
    columns = columns.take(rows, axis=1)
    weight = np.array(weights)[member]
    score = scores[rows].astype(np.float64) * weight
    lowest = labels.min(initial=0)
    keys = image * (labels.max(initial=0) - lowest + 1) + (labels - lowest)
    order = canonical_order(keys, score, *columns, weight)
    return Candidates(
        columns.take(order, axis=1),
        score[order],
        weight[order],
        member[order],
        image[order],
        labels[order],
        np.cumsum(np.diff(keys[order], prepend=keys[order[:1]]) != 0),
    )


def canonical_order(groups: Ints, scores: Floats, *ties: Floats | Ints) -> Ints:
    """Return the rows sorted by group, then falling score, then the other keys."""
    order = np.argsort(-scores)
    order = order[np.argsort(groups[order] * len(order) + np.arange(len(order)))]
    first = np.flatnonzero((np.diff(scores[order]) == 0) & (np.diff(groups[order]) == 0))
    places = np.union1d(first, first + 1)  # few rows need all keys; sorting by all is slower
    rows = order[places]
    keys = (groups, -scores, *ties)
    order[places] = rows[np.lexsort([key[rows] for key in reversed(keys)])]
    return order
