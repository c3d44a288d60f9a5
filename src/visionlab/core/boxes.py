"""Arithmetic of boxes, (..., 4) as x1, y1, x2, y2 in pixels; overlaps and NMS are torchvision's."""

import math

import torch
from torch import Tensor

MAX_LOG_RATIO = math.log(1000.0 / 16.0)  # as in detectron and torchvision: keeps exp finite


def centres_and_sizes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centres and the sizes of boxes, (..., 2) each as x, y."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return the offsets of boxes from anchors, (..., 4) as dx, dy, dw, dh.

    The centre's shift in anchor sizes and the logarithm of the size ratio (R-CNN, arXiv 1311.2524,
    appendix C). Sizes must be above 0.
    """
    box_centres, box_sizes = centres_and_sizes(boxes)
    anchor_centres, anchor_sizes = centres_and_sizes(anchors)
    shifts = (box_centres - anchor_centres) / anchor_sizes
    return torch.cat([shifts, (box_sizes / anchor_sizes).log()], dim=-1)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Return the boxes at offsets from anchors: `encode` undone; they grow by 62.5 at most."""
    centres, sizes = centres_and_sizes(anchors)
    centres = centres + deltas[..., :2] * sizes
    sizes = sizes * deltas[..., 2:].clamp(max=MAX_LOG_RATIO).exp()
    return torch.cat([centres - sizes / 2, centres + sizes / 2], dim=-1)


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Return boxes, (..., K, 4), cut off at the border of their images, (..., 2) width, height."""
    limits = torch.cat([sizes, sizes], dim=-1)[..., None, :].to(boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), limits)


def areas(boxes: Tensor) -> Tensor:
    """Return the areas of boxes, (...) in square pixels; 0 where a side is negative."""
    sizes = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sizes[..., 0] * sizes[..., 1]
