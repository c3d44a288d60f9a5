"""Oriented boxes: rectangles (..., 5) as cx, cy, w, h in pixels and an angle in radians.

The convention, here and nowhere else: x to the right, y down, and a positive angle turns clockwise
on the screen. The corners are c + R(angle) (+-w/2, +-h/2) with R = [[cos, -sin], [sin, cos]].
Many numbers describe one rectangle; the canonical ones have w >= h and an angle in [-pi/2, pi/2),
for squares in [-pi/4, pi/4). Functions that return boxes return canonical ones.
"""

import math

import torch
from torch import Tensor

from visionlab.core.boxes import MAX_LOG_RATIO, centres_and_sizes
from visionlab.core.geometry import transform_points
from visionlab.core.polygons import bounds, clip, clockwise

_HALF, _QUARTER = math.pi / 2, math.pi / 4
_TINY = 1e-13  # of the areas of two boxes
_CHUNK = 2**13  # pairs at a time, which stay in a core's cache
_SIGNS = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))


def canonical(boxes: Tensor) -> Tensor:
    """Return the canonical numbers of boxes (..., 5)."""
    width, height, angle = boxes[..., 2], boxes[..., 3], boxes[..., 4]
    angle = torch.where(height > width, angle + _HALF, angle)
    angle = torch.where(width == height, _wrap(angle, _HALF), _wrap(angle, math.pi))
    long, short = torch.maximum(width, height), torch.minimum(width, height)
    return torch.cat([boxes[..., :2], torch.stack([long, short, angle], dim=-1)], dim=-1)


def corners(boxes: Tensor) -> Tensor:
    """Return the corners of boxes (..., 5), (..., 4, 2), clockwise on the screen."""
    halves = boxes[..., None, 2:4] / 2 * boxes.new_tensor(_SIGNS)
    return boxes[..., None, :2] + _turn(halves, boxes[..., 4, None])


def canonical_corners(polygons: Tensor) -> Tensor:
    """Return corners (..., N, 2) clockwise on the screen, from the one with the smallest y.

    Of several, the one with the smallest x is the first.
    """
    points = clockwise(polygons)
    is_top = points[..., 1] == points[..., 1].amin(dim=-1, keepdim=True)
    first = torch.where(is_top, points[..., 0], torch.inf).argmin(dim=-1, keepdim=True)
    count = points.shape[-2]
    order = (first + torch.arange(count, device=points.device)) % count
    return points.gather(-2, order[..., None].expand(points.shape))


def from_corners(polygons: Tensor) -> Tensor:
    """Return the smallest rectangles around four points each, (..., 4, 2) to (..., 5).

    The points of a rectangle give the rectangle itself. A smallest rectangle has a side along a
    line through two of the points; all six are tried, the edges first.
    """
    pairs = torch.tensor([[0, 1, 2, 3, 0, 1], [1, 2, 3, 0, 2, 3]], device=polygons.device)
    sides = polygons[..., pairs[1], :] - polygons[..., pairs[0], :]
    angles = torch.atan2(sides[..., 1], sides[..., 0])  # (..., 6)
    fitted = around(polygons[..., None, :, :], angles)
    smallest = (fitted[..., 2] * fitted[..., 3]).argmin(dim=-1)
    index = smallest[..., None, None].expand(*smallest.shape, 1, 5)
    return canonical(fitted.gather(-2, index)[..., 0, :])


def around(points: Tensor, angles: Tensor) -> Tensor:
    """Return the rectangles with given angles (...) around points (..., N, 2), not canonical."""
    turned = _turn(points, -angles[..., None])
    centres, sizes = centres_and_sizes(bounds(turned))
    return torch.cat([_turn(centres, angles), sizes, angles[..., None]], dim=-1)


def from_boxes(boxes: Tensor) -> Tensor:
    """Return upright boxes (..., 4) as x1, y1, x2, y2 with an angle of 0, (..., 5).

    They are not canonical if they are higher than wide.
    """
    centres, sizes = centres_and_sizes(boxes)
    return torch.cat([centres, sizes, torch.zeros_like(sizes[..., :1])], dim=-1)


def enclosing(boxes: Tensor) -> Tensor:
    """Return the upright boxes around boxes (..., 5), (..., 4) as x1, y1, x2, y2."""
    return bounds(corners(boxes))


def areas(boxes: Tensor) -> Tensor:
    """Return areas (...) in square pixels."""
    return boxes[..., 2] * boxes[..., 3]


def iou(boxes: Tensor, others: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the IoU of pairs of rows of boxes (N, 5) and (M, 5), (P,) float64; 0 without area.

    It is that of their corners as polygons up to rounding, but several times as fast.
    """
    boxes, others = boxes.double(), others.double()
    chunks = zip(torch.split(rows, _CHUNK), torch.split(columns, _CHUNK), strict=True)
    return torch.cat([_iou(boxes[row], others[column]) for row, column in chunks])


def _iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the IoU of pairs of boxes (P, 5), (P,)."""
    common, total = _common_areas(boxes, others), areas(boxes) + areas(others)
    # rounding leaves a little of boxes that do not meet
    common = torch.where(common > _TINY * total, common, 0.0)
    return torch.where(total > 0, common / (total - common), 0.0)


def _common_areas(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the areas common to pairs of boxes, (P,).

    Seen from the other box, which is then an upright window, an area is the integral of y along
    its edges. Cutting it at the window clamps x and y, so no corners of the cut are needed.
    """
    centres = _turn(boxes[:, :2] - others[:, :2], -others[:, 4])
    seen = torch.cat([centres, boxes[:, 2:4], (boxes[:, 4:] - others[:, 4:])], dim=1)
    starts = corners(seen).permute(2, 1, 0).contiguous()  # pairs last: 3 times as fast
    limit_x, limit_y = others[:, 2] / 2, others[:, 3] / 2
    (x, y), (end_x, end_y) = starts, starts.roll(-1, dims=1)
    inside_x, inside_end_x = (torch.clamp(each, -limit_x, limit_x) for each in (x, end_x))
    slope = torch.where(x == end_x, 0.0, (end_y - y) / (end_x - x))
    heights = [y + slope * (each - x) for each in (inside_x, inside_end_x)]
    low, high = torch.minimum(*heights), torch.maximum(*heights)
    length = high - low
    below = torch.minimum((-limit_y - low).clamp(min=0), length)
    above = torch.minimum((high - limit_y).clamp(min=0), length)
    middle = (torch.clamp(low, -limit_y, limit_y) + torch.clamp(high, -limit_y, limit_y)) / 2
    sums = limit_y * (above - below) + middle * (length - below - above)
    means = torch.where(length > 0, sums / length, middle)
    return (means * (inside_end_x - inside_x)).sum(dim=0).abs()


def transform(boxes: Tensor, matrices: Tensor) -> Tensor:
    """Transform boxes (B, K, 5) by the matrices (B, 3, 3) of their images.

    Flips, rotations, translations and equal scaling of both axes are exact. Anything else turns a
    rectangle into a parallelogram; the result is the smallest rectangle around it.
    """
    points = corners(boxes.double()).flatten(1, 2)
    moved = transform_points(points, matrices).view(*boxes.shape[:2], 4, 2)
    return from_corners(moved).to(boxes.dtype)


def cut(boxes: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Cut boxes (K, 5) at the borders of an image of a size (2,), width and height.

    A cut box is the rectangle of the same angle around what is left of it.

    Returns:
        The boxes, (K, 5), without meaning where nothing is left, and the areas that are left, (K,)
        float64: those of the polygons inside of the image.
    """
    zero = torch.zeros_like(size)
    image = corners(from_boxes(torch.cat([zero, size]).double()))
    edges = clip(clockwise(corners(boxes.double())), image.expand(len(boxes), 4, 2))
    points = torch.cat([edges.starts, edges.ends], dim=1).permute(2, 1, 0)
    is_kept = edges.is_kept.repeat(2, 1).T
    first = is_kept.byte().argmax(dim=1)[:, None, None].expand(-1, 1, 2)
    points = torch.where(is_kept[..., None], points, points.gather(1, first))
    inside = canonical(around(points, boxes[:, 4].double())).to(boxes.dtype)
    is_whole = edges.is_kept[:4].all(dim=0) & ~edges.is_kept[4:].any(dim=0)
    return torch.where(is_whole[:, None], boxes, inside), edges.areas()


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Encode boxes (..., 5) as offsets from anchors (..., 5), (..., 5) as dx, dy, dw, dh, da.

    Of the numbers of a box, those are encoded whose angle differs from the anchor's by [-pi/4,
    pi/4). The centre shifts along the anchor's axes in units of its sides; sides are the logs of
    ratios. With all angles 0, the first four are those of `boxes.encode`. Sizes must be positive.
    """
    turned = _wrap(boxes[..., 4] - anchors[..., 4], math.pi)
    is_across = (turned < -_QUARTER) | (turned >= _QUARTER)
    sizes = torch.where(is_across[..., None], boxes[..., [3, 2]], boxes[..., 2:4])
    shifts = _turn(boxes[..., :2] - anchors[..., :2], -anchors[..., 4])
    ratios = (sizes / anchors[..., 2:4]).log()
    return torch.cat([shifts / anchors[..., 2:4], ratios, _wrap(turned, _HALF)[..., None]], dim=-1)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Decode offsets into boxes; the inverse of `encode`, with growth capped at 62.5 times."""
    shifts = _turn(deltas[..., :2] * anchors[..., 2:4], anchors[..., 4])
    sizes = anchors[..., 2:4] * deltas[..., 2:4].clamp(max=MAX_LOG_RATIO).exp()
    angles = anchors[..., 4:] + deltas[..., 4:]
    return canonical(torch.cat([anchors[..., :2] + shifts, sizes, angles], dim=-1))


def _turn(points: Tensor, angles: Tensor) -> Tensor:
    """Turn points (..., 2) about the origin by angles (...)."""
    cos, sin = angles.cos(), angles.sin()
    x, y = points[..., 0], points[..., 1]
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)


def _wrap(angles: Tensor, period: float) -> Tensor:
    """Return angles plus multiples of the period, in [-period / 2, period / 2)."""
    half = period / 2
    wrapped = (angles + half).remainder(period) - half
    return torch.where(wrapped >= half, wrapped - period, wrapped)  # rounding up to the period
