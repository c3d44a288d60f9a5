"""Records that the parts of the task exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """An image and its annotation.

    Attributes:
        key: a stable id, the same in every run and split.
        name: the file below the folder of the data set or of its images, for people.
        image: its file, or its pixels, (3, H, W) uint8.
        width_px: of the original image.
        height_px: likewise.
        boxes: (K, 4) float64 as x1, y1, x2, y2 in pixels of the original image.
        labels: (K,) int64.
        crowd: (K,) bool, boxes around many objects, which evaluation ignores.
        areas: (K,) float64 in square pixels, which make an object small, medium or large; the area
            of its mask if the annotation has one.
    """

    key: int
    name: str
    image: Path | Tensor
    width_px: int
    height_px: int
    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    areas: Tensor


class BoxTargets(NamedTuple):
    """Boxes of a batch.

    Attributes:
        boxes: (B, K, 4) float32 as x1, y1, x2, y2 in input pixels, without crowds and padded with
            0; K is the largest number of boxes of an image.
        labels: (B, K) int64, padded with -1.
        annotated: the images as annotated, with crowds.
    """

    boxes: Tensor
    labels: Tensor
    annotated: Sequence[Annotated]


class DenseOutput(NamedTuple):
    """Outputs of a one-stage detector at every anchor.

    Attributes:
        logits: (B, A, C).
        deltas: (B, A, 4), offsets of boxes from anchors as `boxes.encode` gives them, divided by
            `box_std`.
        anchors: (A, 4) float32 as x1, y1, x2, y2 in input pixels, ordered by level, row, column and
            number in its cell; the cells of a level differ only by shifts.
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
        """Number of anchors of each level; they add up to A."""
        cells = [rows * columns for rows, columns in self.level_shapes]
        return [count * len(self.anchors) // sum(cells) for count in cells]


class Detections(NamedTuple):
    """Detections in one image, highest scores first.

    Attributes:
        boxes: (D, 4) float32 as x1, y1, x2, y2 in pixels of the original image.
        scores: (D,) float32 in [0, 1].
        labels: (D,) int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
