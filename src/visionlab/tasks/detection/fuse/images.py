"""Fusion of many images: settings of all fusions, and detections to arrays and back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from visionlab.core.checks import check_at_least, check_range
from visionlab.core.fusing import relative_weights
from visionlab.tasks.detection.fuse.candidates import (
    Candidates,
    Fused,
    ToColumns,
    canonical_order,
    collect_candidates,
    upright_columns,
)
from visionlab.tasks.detection.records import Detections

_BOXES_AT_ONCE = 8_192  # their pairs fit into a processor's cache


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
    *,
    to_columns: ToColumns = upright_columns,
) -> list[Detections]:
    """Return the fused detections of each image, highest scores first.

    Boxes without area are dropped. Equal scores are ordered by label and box coordinates. Scores
    above 1 become 1.

    Args:
        fuse: fuses the candidates of some images, given the relative weights of all members.
        settings: of the fusion.
        members: the detections of each member in each image.
        weights: one for each member; a member of weight 0 is left out.
        to_columns: returns members' boxes as columns, and which of them have an area.

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
        candidates = collect_candidates(
            part, relative, score_threshold=settings.score_threshold, to_columns=to_columns
        )
        found = fuse(candidates, relative)
        fused += _detections(found, candidates, end - start, settings.max_detections)
    return fused


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


def _detections(
    fused: Fused, candidates: Candidates, num_images: int, max_detections: int
) -> list[Detections]:
    images, labels = candidates.images[fused.rows], candidates.labels[fused.rows]
    order = canonical_order(images, fused.scores, labels, *fused.boxes)
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
