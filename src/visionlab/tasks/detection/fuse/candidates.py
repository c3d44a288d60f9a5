"""Detections of several members as arrays, and fused arrays as detections.

Boxes are the columns of (4, N) arrays, x1, y1, x2, y2 in pixels of the original image.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from visionlab.core.checks import check_at_least, check_range
from visionlab.core.fusing import relative_weights
from visionlab.tasks.detection.records import Detections

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_BOXES_AT_ONCE = 8_192  # their pairs fit into a processor's cache


class Candidates(NamedTuple):
    """Boxes of several images, in canonical order, which does not depend on the order of members.

    They are ordered by image, label, falling score, box coordinates and weight. Boxes that are
    still equal may be exchanged.

    Attributes:
        boxes: (4, N).
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
        boxes: (4, K).
        scores: (K,).
        rows: (K,), a candidate with the image and label of each.
    """

    boxes: Floats
    scores: Floats
    rows: Ints


@dataclass(frozen=True, kw_only=True)
class FusionSettings:
    """Settings of every fusion of boxes.

    Attributes:
        score_threshold: boxes with lower scores, before weighting or once decayed, are dropped.
        max_detections: maximum number of fused detections of an image.
    """

    score_threshold: float
    max_detections: int

    def __post_init__(self) -> None:
        check_range(self, "[0, 1]", "score_threshold")
        check_at_least(self, 1, "max_detections")


def fuse_images(
    fuse: Callable[[Candidates, list[float]], Fused],
    settings: FusionSettings,
    members: Sequence[Sequence[Detections]],
    weights: Sequence[float],
) -> list[Detections]:
    """Return the fused detections of each image, highest scores first.

    Boxes without area are dropped. Equal scores are ordered by label and box coordinates. Scores
    above 1 become 1.

    Args:
        fuse: fuses the candidates of some images, given the relative weights of all members.
        settings: of the fusion.
        members: the detections of each member in each image.
        weights: one for each member; a member of weight 0 is left out.

    Raises:
        ValueError: the members differ in the number of images, or the weights are refused.
    """
    relative = relative_weights(weights, num_members=len(members))
    num_images = len(members[0])
    for number, member in enumerate(members):
        if len(member) != num_images:
            raise ValueError(
                f"members must have detections of as many images as member 0, {num_images}, "
                f"got {len(member)} for member {number}"
            )
    kept = [member for member, weight in zip(members, relative, strict=True) if weight]
    relative = [weight for weight in relative if weight]
    counts = np.array([[len(found.scores) for found in member] for member in kept])
    fused: list[Detections] = []
    for start, end in _chunks(counts.sum(axis=0).tolist()):
        part = [member[start:end] for member in kept]
        candidates = _candidates(part, relative, score_threshold=settings.score_threshold)
        found = fuse(candidates, relative)
        fused += _detections(found, candidates, end - start, settings.max_detections)
    return fused


def mean_boxes(candidates: Candidates, seeds: Ints, *, shares: Floats) -> tuple[Floats, Ints]:
    """Return the weighted mean boxes of clusters, (4, K), and their seeds, (K,), ascending.

    Args:
        candidates: N boxes.
        seeds: (N,), the row of the best box of each candidate's cluster.
        shares: (N,), the weight of each candidate in its cluster.
    """
    rows, clusters = np.unique(seeds, return_inverse=True)
    shares = safe_shares(shares, seeds)
    sums = [np.bincount(clusters, shares * sides) for sides in candidates.boxes]
    return np.stack(sums) / np.bincount(clusters, shares), rows


def safe_shares(shares: Floats, seeds: Ints) -> Floats:
    """Return weights of boxes in their clusters, (N,), all 1 if those of a cluster are all 0.

    The seed, the row of the best box of a cluster, has the largest weight in it.
    """
    return np.where(shares[seeds] > 0, shares, 1.0)


def _chunks(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first image and the end of runs of images that have few boxes together."""
    start, total = 0, 0
    for image, size in enumerate(sizes):
        if image > start and total + size > _BOXES_AT_ONCE:
            yield start, image
            start, total = image, 0
        total += size
    if sizes:
        yield start, len(sizes)


def _candidates(
    members: Sequence[Sequence[Detections]], weights: Sequence[float], *, score_threshold: float
) -> Candidates:
    all_found = list(itertools.chain.from_iterable(members))
    counts = np.array([len(found.scores) for found in all_found])
    number = np.repeat(np.arange(len(all_found)), counts)
    member, image = np.divmod(number, len(members[0]))
    boxes, scores, labels = (
        torch.cat(parts).cpu().numpy() for parts in zip(*all_found, strict=True)
    )
    columns = np.ascontiguousarray(boxes.T, dtype=np.float64)
    is_used = (scores >= score_threshold) & (columns[2:] > columns[:2]).all(axis=0)
    rows = np.flatnonzero(is_used)
    member, image, labels = member[rows], image[rows], labels[rows]
    weight = np.array(weights)[member]
    group = _numbered(image, labels)
    score = scores[rows].astype(np.float64) * weight
    columns = columns[:, rows]
    order = _order(group, score, *columns, weight)
    return Candidates(
        columns[:, order],
        score[order],
        weight[order],
        member[order],
        image[order],
        labels[order],
        group[order],
    )


def _numbered(images: Ints, labels: Ints) -> Ints:
    """Return a number for each pair of image and label, ascending with image, then label."""
    lowest = labels.min(initial=0)
    keys = images * (labels.max(initial=0) - lowest + 1) + (labels - lowest)
    numbers: Ints = np.unique(keys, return_inverse=True)[1]
    return numbers


def _order(groups: Ints, scores: Floats, *ties: Floats | Ints) -> Ints:
    """Return the rows sorted by group, then falling score, then the other keys."""
    order = np.argsort(-scores)
    order = order[np.argsort(groups[order] * len(order) + np.arange(len(order)))]
    is_tied = (np.diff(scores[order]) == 0) & (np.diff(groups[order]) == 0)
    # few rows need all keys; to sort by all at once is slower
    places = np.flatnonzero(np.append(is_tied, False) | np.insert(is_tied, 0, False))
    rows = order[places]
    keys = (groups, -scores, *ties)
    order[places] = rows[np.lexsort([key[rows] for key in reversed(keys)])]
    return order


def _detections(
    fused: Fused, candidates: Candidates, num_images: int, max_detections: int
) -> list[Detections]:
    images, labels = candidates.images[fused.rows], candidates.labels[fused.rows]
    order = _order(images, fused.scores, labels, *fused.boxes)
    images = images[order]
    sizes = np.bincount(images, minlength=num_images)
    places = np.arange(len(images)) - (np.cumsum(sizes) - sizes)[images]
    order = order[places < max_detections]
    counts = np.minimum(sizes, max_detections).tolist()
    parts: tuple[NDArray[Any], ...] = (
        np.ascontiguousarray(fused.boxes.T[order], dtype=np.float32),
        np.minimum(fused.scores[order], 1.0).astype(np.float32),
        labels[order],
    )
    columns = (torch.split(torch.from_numpy(part), counts) for part in parts)
    return [Detections(*column) for column in zip(*columns, strict=True)]
