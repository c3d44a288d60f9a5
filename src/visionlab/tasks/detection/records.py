"""Records that the parts of the task exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

NUM_OFFSETS, NUM_ORIENTED_OFFSETS = 4, 5  # of a box from its anchor; the last one is the angle's


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
        polygons: (K, 4, 2) float64, convex corners x, y in the same pixels, around which `boxes`
            are; None if the boxes are the annotation, or there are none.
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
    polygons: Tensor | None = None


class BoxTargets(NamedTuple):
    """Boxes of a batch.

    Attributes:
        boxes: (B, K, 4) float32 as x1, y1, x2, y2 in input pixels, without crowds and padded with
            0; K is the largest number of boxes of an image.
        labels: (B, K) int64, padded with -1.
        annotated: the images as annotated, with crowds.
        sizes: (B, 2) float32, width and height of each image in input pixels; the rest of the
            canvas is padding.
        oriented: (B, K, 5) float32 in input pixels, see `core.oriented_boxes`, around which `boxes`
            are, padded with 0; None if the data set has upright boxes.
        pages: (B,) int64, ascending, which of `annotated` an input is a crop of; None if each input
            is a whole image.
    """

    boxes: Tensor
    labels: Tensor
    annotated: Sequence[Annotated]
    sizes: Tensor
    oriented: Tensor | None = None
    pages: Tensor | None = None


class DenseOutput(NamedTuple):
    """Outputs of a one-stage detector at every anchor.

    Attributes:
        logits: (B, A, C).
        deltas: (B, A, 4), offsets of boxes from anchors as `boxes.encode` gives them, divided by
            `box_std`; (B, A, 5) of oriented boxes, from anchors with an angle of 0 as
            `oriented_boxes.encode` gives them.
        anchors: (A, 4) float32 as x1, y1, x2, y2 in input pixels, ordered by level, row, column and
            number in its cell; the cells of a level differ only by shifts.
        level_shapes: rows and columns of each level.
        box_std: (4,) float32; (5,) of oriented boxes.
    """

    logits: Tensor
    deltas: Tensor
    anchors: Tensor
    level_shapes: Sequence[tuple[int, int]]
    box_std: Tensor

    @property
    def is_oriented(self) -> bool:
        """Whether the offsets are those of oriented boxes."""
        return len(self.box_std) == NUM_ORIENTED_OFFSETS

    @property
    def level_sizes(self) -> list[int]:
        """Number of anchors of each level; they add up to A."""
        cells = [rows * columns for rows, columns in self.level_shapes]
        return [count * len(self.anchors) // sum(cells) for count in cells]


class Sampled(NamedTuple):
    """Boxes of one stage of a two-stage detector that were drawn for its losses.

    Attributes:
        logits: (S, 1) float32 of there being an object, or (S, C + 1), background first.
        deltas: (S, 4) float32, predicted offsets from the boxes, divided as `wanted`.
        wanted: (S, 4) float32, true offsets; without meaning for background.
        labels: (S,) int64; 0 is background.
        counts: number of boxes of each image; they are ordered by image.
    """

    logits: Tensor
    deltas: Tensor
    wanted: Tensor
    labels: Tensor
    counts: Sequence[int]


class Regions(NamedTuple):
    """Proposals of a batch, classified and refined.

    Attributes:
        images: (R,) int64, the image of each, ascending.
        boxes: (R, C, 4) float32 as x1, y1, x2, y2 in input pixels, one for each class.
        logits: (R, C + 1) float32, background first.
    """

    images: Tensor
    boxes: Tensor
    logits: Tensor


class TwoStageOutput(NamedTuple):
    """Outputs of a two-stage detector.

    Attributes:
        anchors: drawn for the losses of the first stage; None without targets.
        sampled: proposals drawn for the losses of the second stage; None without targets.
        regions: what detections are made of; None in training.
    """

    anchors: Sampled | None
    sampled: Sampled | None
    regions: Regions | None


class Detections(NamedTuple):
    """Detections in one image or page, highest scores first.

    Attributes:
        boxes: (D, 4) float32 as x1, y1, x2, y2 in pixels of the original image; (D, 5) of detectors
            of oriented boxes, see `core.oriented_boxes`.
        scores: (D,) float32 in [0, 1].
        labels: (D,) int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
