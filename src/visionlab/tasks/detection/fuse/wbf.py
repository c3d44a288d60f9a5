"""Weighted boxes fusion."""

import math

DEBUG = 0
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from visionlab.core.checks import check_at_least, check_choice, check_range
from visionlab.tasks.detection.fuse.candidates import (
    Candidates,
    Floats,
    Fused,
    Ints,
    fuse_images,
)
from visionlab.tasks.detection.fuse.pairs import ious, overlapping_pairs
from visionlab.tasks.detection.records import Detections

Confidence = Literal["avg", "sum", "max", "box_and_model_avg", "absent_model_aware_avg"]


@dataclass(frozen=True, kw_only=True)
class WeightedBoxFusion:
    iou_threshold: float
    score_threshold: float
    confidence: Confidence
    max_detections: int

    def __post_init__(self) -> None:
        check_range(self, "[0, 1]", "iou_threshold", "score_threshold")
        check_choice(self, get_args(Confidence), "confidence")
        check_at_least(self, 1, "max_detections")

    def __call__(
        self, members: Sequence[Sequence[Detections]], weights: Sequence[float]
    ) -> list[Detections]:
        return fuse_images(
            self._fuse,
            members,
            weights,
            score_threshold=self.score_threshold,
            max_detections=self.max_detections,
        )

    def _fuse(self, candidates: Candidates, weights: Sequence[float]) -> Fused:
        clusters = _clusters(candidates, self.iou_threshold)
        seeds, cluster = np.unique(clusters, return_inverse=True)
        boxes = mean_boxes(candidates, candidates.scores, seeds, cluster)
        scores = _confidence(self.confidence, candidates, cluster, weights)
        return Fused(boxes, scores, seeds)


def mean_boxes(candidates: Candidates, shares: Floats, seeds: Ints, clusters: Ints) -> Floats:
    """Return the means of the boxes of each cluster, (4, K); plain ones if the seed's share is 0."""
    shares = np.where(shares[seeds][clusters] > 0, shares, 1.0)
    totals = np.bincount(clusters, shares)
    return np.stack([np.bincount(clusters, shares * side) for side in candidates.boxes]) / totals


def _confidence(
    confidence: Confidence, candidates: Candidates, clusters: Ints, weights: Sequence[float]
) -> Floats:
    total = math.fsum(weights)
    sizes = np.bincount(clusters)
    sums = np.bincount(clusters, candidates.scores)
    match confidence:
        case "avg":
            return sums * np.minimum(1.0, len(weights) / sizes) / total
        case "sum":
            return sums / total
        case "max":
            best = np.zeros(len(sizes))
            np.maximum.at(best, clusters, candidates.scores)
            return best
    weight_sums = np.bincount(clusters, candidates.weights)
    _, firsts = np.unique(clusters * len(weights) + candidates.members, return_index=True)
    firsts.sort()
    present = np.bincount(clusters[firsts], candidates.weights[firsts])
    if confidence == "box_and_model_avg":
        return sums / weight_sums * (present / total)
    return sums / (weight_sums + (total - present))


def _clusters(candidates: Candidates, iou_threshold: float) -> Ints:
    """Return the row of the first box of the cluster of each box, (N,)."""
    better, worse = _near_pairs(candidates, iou_threshold)
    boxes, scores, groups = candidates.boxes, candidates.scores, candidates.groups
    seeds = np.arange(len(scores))
    result, rows = seeds.copy(), seeds
    while len(rows):
        joined = _joined(boxes, scores, seeds, better, worse, iou_threshold)
        result[rows] = rows[joined]
        is_open = np.zeros(int(groups[-1]) + 1, dtype=bool)
        is_open[groups[joined != seeds]] = True
        stay = is_open[groups]
        pairs_stay = np.flatnonzero(stay[better])
        new = np.cumsum(stay) - 1
        better, worse = new[better[pairs_stay]], new[worse[pairs_stay]]
        stay = np.flatnonzero(stay)
        boxes, scores, groups, rows, seeds = (
            boxes[:, stay],
            scores[stay],
            groups[stay],
            rows[stay],
            new[joined[stay]],
        )
    return result


def _joined(boxes, scores, seeds, better, worse, iou_threshold):
    means, followers = _running_means(boxes, scores, seeds)
    # of a cluster's states, only the last before a box counts
    rows = np.flatnonzero(followers[better] >= worse)
    better, worse = better[rows], worse[rows]
    iou = ious(means[:, better], boxes[:, worse])
    rows = np.flatnonzero(iou > iou_threshold)
    better, worse, iou = better[rows], worse[rows], iou[rows]
    best = np.zeros(len(seeds))
    np.maximum.at(best, worse, iou)
    rows = np.flatnonzero(iou == best[worse])
    new = np.arange(len(seeds))
    new[worse[rows]] = len(seeds)
    np.minimum.at(new, worse[rows], seeds[better[rows]])
    while (new[new] != new).any():
        new = new[new]
    return new


def _running_means(boxes, scores, seeds):
    count = len(seeds)
    order = np.argsort(seeds, kind="stable")
    sorted_seeds = seeds[order]
    is_first = np.diff(sorted_seeds, prepend=-1) != 0
    starts = np.flatnonzero(is_first)
    places = np.arange(count) - np.repeat(starts, np.diff(starts, append=count))
    followers = np.full(count, count)
    later = np.flatnonzero(~is_first)
    followers[order[later - 1]] = order[later]
    shares = np.where(scores[sorted_seeds] > 0, scores[order], 1.0)
    sums = np.concatenate([boxes[:, order] * shares, shares[None]])
    shift = 1
    while len(later):
        sums[:, later] += sums[:, later - shift]
        shift *= 2
        later = later[places[later] >= shift]
    means = np.empty((4, count))
    means[:, order] = sums[:4] / sums[4]
    return means, followers


def _near_pairs(candidates: Candidates, iou_threshold: float) -> tuple[Ints, Ints]:
    t = iou_threshold
    sizes = candidates.boxes[2:] - candidates.boxes[:2]
    reach = max(0.0, (1 - 2 * t) / (2 * t)) if t else math.inf
    grown = (
        candidates.boxes + np.concatenate([-sizes, sizes]) * reach if reach else candidates.boxes
    )
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for better, worse in overlapping_pairs(grown, candidates.groups):
        one, other = sizes[:, better], sizes[:, worse]
        rows = np.flatnonzero(
            (np.minimum(one, other) >= t * t * np.maximum(one, other)).all(axis=0)
        )
        parts.append((better[rows], worse[rows]))
    better, worse = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return better, worse
