"""Targets of a batch: the boxes of its images, moved by the matrices of its inputs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from visionlab.core import boxes as box_arithmetic
from visionlab.core import geometry, oriented_boxes
from visionlab.tasks.detection.augment import keep_visible
from visionlab.tasks.detection.records import Annotated, BoxTargets


def box_targets(
    samples: Sequence[Annotated],
    matrices: Tensor,
    sizes: Tensor,
    *,
    pages: Tensor | None,
    min_visible: float,
    enough_visible_px: float,
    device: torch.device,
) -> BoxTargets:
    """Return the boxes in inputs, without crowds and without those that are hardly visible.

    Args:
        samples: the images.
        matrices: (B, 3, 3) float64, from original to input pixels.
        sizes: (B, 2) int64, width and height of each input.
        pages: see `BoxTargets`.
        min_visible: minimum share of a box's area inside its input.
        enough_visible_px: area in square pixels of the original image with which a box stays,
            whatever its share; infinity for the share alone.
        device: that of the result.
    """
    inputs = samples if pages is None else [samples[page] for page in pages.tolist()]
    is_oriented = all(each.polygons is not None or not len(each.boxes) for each in samples)
    move = _oriented if is_oriented else _upright
    areas = enough_visible_px * torch.linalg.det(matrices[:, :2, :2]).abs()
    rows = [
        move(sample, matrix, size, min_visible=min_visible, enough_visible_px=area)
        for sample, matrix, size, area in zip(
            inputs, matrices, sizes.double(), areas.tolist(), strict=True
        )
    ]
    labels, boxes, *oriented = (
        torch.nn.utils.rnn.pad_sequence(list(column), batch_first=True, padding_value=value)
        for column, value in zip(zip(*rows, strict=True), (-1, 0, 0), strict=False)
    )
    return BoxTargets(
        boxes=boxes.to(device),
        labels=labels.to(device),
        annotated=samples,
        sizes=sizes.float().to(device),
        oriented=oriented[0].to(device) if oriented else None,
        pages=None if pages is None else pages.to(device),
    )


def _upright(
    sample: Annotated,
    matrix: Tensor,
    size: Tensor,
    *,
    min_visible: float,
    enough_visible_px: float,
) -> tuple[Tensor, ...]:
    """Return labels (K,) and boxes (K, 4)."""
    single = ~sample.crowd
    # float32 before the areas are compared: a box that has an area then has one in the loss
    moved = geometry.transform_boxes(sample.boxes[single][None], matrix[None]).float()
    inside, is_kept = keep_visible(
        moved, size[None], min_visible=min_visible, enough_visible_px=enough_visible_px
    )
    return sample.labels[single][is_kept[0]], inside[is_kept]


def _oriented(
    sample: Annotated,
    matrix: Tensor,
    size: Tensor,
    *,
    min_visible: float,
    enough_visible_px: float,
) -> tuple[Tensor, ...]:
    """Return labels (K,), upright boxes (K, 4) and the oriented boxes in them, (K, 5).

    Corners move exactly; the smallest rectangles around them are cut at the border.
    """
    single, corners = ~sample.crowd, sample.polygons
    if corners is None:  # without boxes
        corners = torch.zeros(0, 4, 2, dtype=torch.float64)
    moved = geometry.transform_points(corners[single].flatten(0, 1)[None], matrix[None])
    whole = oriented_boxes.from_corners(moved.view(-1, 4, 2))
    inside, areas = oriented_boxes.cut(whole, size)
    inside = inside.float()
    upright = box_arithmetic.clip(oriented_boxes.enclosing(inside), size)
    is_kept = (areas >= min_visible * oriented_boxes.areas(whole)) | (areas >= enough_visible_px)
    is_kept &= (box_arithmetic.areas(upright) > 0) & (inside[:, 2:4] > 0).all(dim=1)
    return sample.labels[single][is_kept], upright[is_kept], inside[is_kept]
