"""Overlaps of detections with objects, upright or oriented, for all images at once."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionlab.core import oriented_boxes, polygons
from visionlab.tasks.detection.average_precision import Floats, Ints, Overlaps
from visionlab.tasks.detection.fuse.pairs import touching_pairs
from visionlab.tasks.detection.records import Annotated, Detections

_ORIENTED = 5  # numbers of an oriented box
_TINY = 1e-12  # square pixels


class SplitBoxes(NamedTuple):
    """Boxes of all images: objects, which have no scores, or detections, which are no crowds.

    Attributes:
        boxes: (4, K) float64 as x1, y1, x2, y2, around the polygons.
        polygons: (K, 4, 2) float64, corners of oriented boxes; None of upright detections.
        groups: (K,) int64, which number the pairs of image and label.
        labels: (K,) int64.
        scores: (K,) float32.
        is_crowd: (K,) bool.
    """

    boxes: Floats
    polygons: Tensor | None
    groups: Ints
    labels: Ints
    scores: NDArray[np.float32]
    is_crowd: NDArray[np.bool_]


def concatenate(found: Sequence[Detections]) -> dict[str, Tensor]:
    """Return the detections of all images in order, as they are in `AveragePrecision.samples`."""
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    counts = torch.tensor([len(each.scores) for each in found])
    return {
        "num_detections": counts.int(),
        "boxes": boxes,
        "scores": scores,
        "labels": labels.short(),
    }


def detected_boxes(samples: Mapping[str, Tensor], num_classes: int) -> SplitBoxes:
    """Return the detections of all images, given what `concatenate` returns."""
    counts = samples["num_detections"].numpy()
    labels, boxes = samples["labels"].long().numpy(), samples["boxes"].double()
    is_oriented = boxes.shape[1] == _ORIENTED
    return SplitBoxes(
        boxes=(oriented_boxes.enclosing(boxes) if is_oriented else boxes).numpy().T,
        polygons=oriented_boxes.corners(boxes) if is_oriented else None,
        groups=np.repeat(np.arange(len(counts)), counts) * num_classes + labels,
        labels=labels,
        scores=samples["scores"].numpy(),
        is_crowd=np.zeros(len(labels), dtype=np.bool_),
    )


def annotated_boxes(images: Sequence[Annotated], num_classes: int) -> SplitBoxes:
    """Return the objects of all images; those that are upright have polygons too."""
    counts = [len(image.labels) for image in images]
    labels = torch.cat([image.labels for image in images]).numpy()
    boxes = torch.cat([image.boxes for image in images])
    corners = oriented_boxes.corners(oriented_boxes.from_boxes(boxes))
    for part, image in zip(torch.split(corners, counts), images, strict=True):
        if image.polygons is not None:
            part.copy_(image.polygons)
    return SplitBoxes(
        boxes=boxes.numpy().T,
        polygons=corners,
        groups=np.repeat(np.arange(len(counts)), counts) * num_classes + labels,
        labels=labels,
        scores=np.empty(0, dtype=np.float32),
        is_crowd=torch.cat([image.crowd for image in images]).numpy(),
    )


def find_overlaps(found: SplitBoxes, objects: SplitBoxes) -> Overlaps:
    """Return the pairs of detections and objects that touch or overlap.

    Their IoU is that of the polygons if both have them, otherwise that of the upright boxes.
    """
    count = len(found.labels)
    boxes = np.concatenate([found.boxes, objects.boxes], axis=1)
    groups = np.concatenate([found.groups, objects.groups])
    has_area = np.flatnonzero((boxes[2:] > boxes[:2]).all(axis=0))
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))]
    for pair in touching_pairs(boxes[:, has_area], groups[has_area]):
        lower, higher = has_area[pair[0]], has_area[pair[1]]
        is_mixed = (lower < count) & (higher >= count)
        detections, rows = lower[is_mixed], higher[is_mixed] - count
        parts.append((detections, rows, *_ious_and_shares(found, detections, objects, rows)))
    pairs = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Overlaps(found.scores, found.labels, objects.labels, objects.is_crowd, *pairs)


def _ious_and_shares(
    found: SplitBoxes, detections: Ints, objects: SplitBoxes, rows: Ints
) -> tuple[Floats, Floats]:
    """Return the IoUs of pairs, and the shares of detections inside objects, each (P,)."""
    if found.polygons is None or objects.polygons is None:
        boxes, others = found.boxes[:, detections], objects.boxes[:, rows]
        low, high = np.maximum(boxes[:2], others[:2]), np.minimum(boxes[2:], others[2:])
        common = np.maximum(high - low, 0.0).prod(axis=0)
        sizes, other_sizes = ((each[2:] - each[:2]).prod(axis=0) for each in (boxes, others))
    else:
        one, other = found.polygons[detections], objects.polygons[rows]
        common = polygons.intersections(one, other).numpy()
        sizes, other_sizes = (polygons.areas(each).numpy() for each in (one, other))
    union = sizes + other_sizes - common
    return common / np.maximum(union, _TINY), common / np.maximum(sizes, _TINY)
