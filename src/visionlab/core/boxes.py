"""Box arithmetic; boxes are (..., 4) as x1, y1, x2, y2 in pixels. IoU and NMS: torchvision."""

import math

import torch
from torch import Tensor

MAX_LOG_RATIO = math.log(1000.0 / 16.0)  # as in Detectron and torchvision; keeps exp finite


def centres_and_sizes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centres and sizes of boxes, each (..., 2) as x, y."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Encode boxes as offsets from anchors, (..., 4) as dx, dy, dw, dh.

    The offsets are the centre shift in units of the anchor size and the log of the size ratio
    (R-CNN, arXiv 1311.2524, appendix C). Sizes must be positive.
    """
    box_centres, box_sizes = centres_and_sizes(boxes)
    anchor_centres, anchor_sizes = centres_and_sizes(anchors)
    shifts = (box_centres - anchor_centres) / anchor_sizes
    return torch.cat([shifts, (box_sizes / anchor_sizes).log()], dim=-1)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Decode offsets into boxes; the inverse of `encode`, with growth capped at 62.5 times."""
    centres, sizes = centres_and_sizes(anchors)
    centres = centres + deltas[..., :2] * sizes
    sizes = sizes * deltas[..., 2:].clamp(max=MAX_LOG_RATIO).exp()
    return torch.cat([centres - sizes / 2, centres + sizes / 2], dim=-1)


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Clip boxes (..., K, 4) to their images, whose sizes are (..., 2) as width, height."""
    limits = torch.cat([sizes, sizes], dim=-1)[..., None, :].to(boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), limits)


def intersections(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the areas common to boxes and others, (...) of their broadcast shapes."""
    low = torch.maximum(boxes[..., :2], others[..., :2])
    high = torch.minimum(boxes[..., 2:], others[..., 2:])
    return areas(torch.cat([low, high], dim=-1))


def areas(boxes: Tensor) -> Tensor:
    """Return box areas (...) in square pixels; 0 if a side is negative."""
    sizes = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sizes[..., 0] * sizes[..., 1]
