"""Candidates for detections: the best outputs at anchors, moved to the original images."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from visionlab.task import Batch
from visionlab.tasks.detection.records import BoxTargets, DenseOutput, Detections


class Candidates(NamedTuple):
    """Boxes (N, 4), or (N, 5), scores, images and labels, by image and falling score."""

    boxes: Tensor
    scores: Tensor
    images: Tensor
    labels: Tensor


def dense_candidates(
    outputs: DenseOutput, *, score_threshold: float, candidates_per_level: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return image, anchor, class and logit of the candidates for NMS, highest logits first."""
    logits = outputs.logits
    # comparing logits instead of scores saves the sigmoid of all anchors
    least = math.log(score_threshold / (1.0 - score_threshold)) if score_threshold else -math.inf
    parts, start = [], 0
    for size in outputs.level_sizes:
        level = logits[:, start : start + size]
        image, anchor, label = (level > least).nonzero(as_tuple=True)
        value = level[image, anchor, label].float()
        best = _best_of_groups(image, value, count=candidates_per_level)
        parts.append((image[best], start + anchor[best], label[best], value[best]))
        start += size
    image, anchor, label, value = (torch.cat(columns) for columns in zip(*parts, strict=True))
    order = by_value(image, value)
    return image[order], anchor[order], label[order], value[order]


def in_originals(
    candidates: Candidates, batch: Batch, transform: Callable[[Tensor, Tensor], Tensor]
) -> Candidates:
    """Return candidates of inputs in pixels of the original images, those of crops by page.

    `transform` moves boxes (B, K, 4), or (B, K, 5), by matrices (B, 3, 3).
    """
    targets: BoxTargets = batch.targets
    assert batch.matrices is not None
    inverse = torch.linalg.inv(batch.matrices.double())[candidates.images]
    moved = candidates._replace(boxes=transform(candidates.boxes[:, None], inverse)[:, 0])
    if targets.pages is None:
        return moved
    pages = targets.pages[candidates.images]
    order = by_value(pages, candidates.scores)
    return Candidates(*(column[order] for column in moved._replace(images=pages)))


def best_of_images(
    candidates: Candidates, kept: Tensor, num_images: int, *, max_detections: int
) -> list[Detections]:
    """Return the best of the rows `kept`, ascending, as detections of each image."""
    images = candidates.images
    kept = kept[_ranks(images[kept]) < max_detections]
    counts = images[kept].bincount(minlength=num_images).tolist()
    parts = (candidates.boxes[kept], candidates.scores[kept], candidates.labels[kept])
    columns = zip(*(torch.split(part, counts) for part in parts), strict=True)
    return [Detections(*column) for column in columns]


def _best_of_groups(groups: Tensor, values: Tensor, *, count: int) -> Tensor:
    """Return the rows of the `count` largest values of each group; `groups` is ascending."""
    ranks = _ranks(groups)
    if not (ranks >= count).any():
        return torch.arange(len(groups), device=groups.device)
    return by_value(groups, values)[ranks < count]


def by_value(groups: Tensor, values: Tensor) -> Tensor:
    """Return the rows sorted by group and falling value."""
    order = values.argsort(descending=True, stable=True)
    return order[groups[order].argsort(stable=True)]


def _ranks(groups: Tensor) -> Tensor:
    """Return the place of each row in its group, from 0; `groups` is ascending."""
    sizes = groups.bincount()
    return torch.arange(len(groups), device=groups.device) - (sizes.cumsum(0) - sizes)[groups]
