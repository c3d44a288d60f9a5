"""The records that parts exchange: what data tells models, losses, metrics and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """An image and its boxes, as annotated.

    Attributes:
        key: a stable id, the same in every run and split.
        image: its file, or its pixels, (3, H, W) uint8.
        width_px: of the original image.
        height_px: likewise.
        boxes: (K, 4) float64 as x1, y1, x2, y2 in pixels of the original image.
        labels: (K,) int64.
        crowd: (K,) bool, boxes around many objects: found or not, they count neither way.
        areas: (K,) float64 in square pixels, by which an object is small, medium or large; the
            area of a mask where the annotations have one.
    """

    key: int
    image: Path | Tensor
    width_px: int
    height_px: int
    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    areas: Tensor


class BoxTargets(NamedTuple):
    """What the detectors of a batch should find.

    Attributes:
        boxes: (B, K, 4) float32 as x1, y1, x2, y2 in input pixels; K is the largest number of
            boxes of an image, the rest is 0.
        labels: (B, K) int64, -1 where there is no box.
        annotated: the images as annotated, with crowds, which `boxes` has not.
    """

    boxes: Tensor
    labels: Tensor
    annotated: Sequence[Annotated]


class DenseOutput(NamedTuple):
    """What a one-stage detector says at every anchor.

    Attributes:
        logits: (B, A, C), one for each class.
        deltas: (B, A, 4), offsets of boxes from anchors as `boxes.encode` gives them, divided by
            `box_std`.
        anchors: (A, 4) float32 as x1, y1, x2, y2 in input pixels, ordered by level, row, column and
            number in its cell; the cells of a level differ by shifts alone.
        level_shapes: rows and columns of each level.
        box_std: (4,) float32.
    """

    logits: Tensor
    deltas: Tensor
    anchors: Tensor
    level_shapes: Sequence[tuple[int, int]]
    box_std: Tensor

    @property
    def level_sizes(self) -> list[int]:
        """How many anchors each level has; they add up to A."""
        cells = [rows * columns for rows, columns in self.level_shapes]
        return [count * len(self.anchors) // sum(cells) for count in cells]


class Detections(NamedTuple):
    """What was found in one image, the most certain first.

    Attributes:
        boxes: (D, 4) float32 as x1, y1, x2, y2 in pixels of the original image.
        scores: (D,) float32 in [0, 1].
        labels: (D,) int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
