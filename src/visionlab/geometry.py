"""Geometry of images as 3x3 matrices: what moves an image moves its points and boxes.

Pixel coordinates are continuous: x to the right, y down, pixel (i, j) covers [i, i + 1) x
[j, j + 1), so the image's corners are (0, 0) and (width, height). A matrix maps source to target
coordinates as column vectors (x, y, 1); matrices are float64 and in batches, (B, 3, 3), so that any
composition can be undone to well below a pixel. The first operation stands rightmost:
`shift @ scale`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def identities(count: int, *, device: torch.device) -> Tensor:
    """Return `count` matrices that change nothing, (count, 3, 3) float64."""
    return torch.eye(3, dtype=torch.float64, device=device).repeat(count, 1, 1)


def translations(offsets: Tensor) -> Tensor:
    """Return the matrices that move by (x, y) pixels; offsets are (B, 2)."""
    matrices = identities(len(offsets), device=offsets.device)
    matrices[:, :2, 2] = offsets.double()
    return matrices


def scalings(factors: Tensor) -> Tensor:
    """Return the matrices that multiply x and y; factors are (B, 2)."""
    matrices = identities(len(factors), device=factors.device)
    matrices[:, 0, 0], matrices[:, 1, 1] = factors.double().unbind(1)
    return matrices


def rotations(degrees: Tensor) -> Tensor:
    """Return the matrices that turn clockwise, as seen, about the origin; degrees are (B,)."""
    angles = degrees.double().deg2rad()
    matrices = identities(len(degrees), device=degrees.device)
    matrices[:, 0, 0] = matrices[:, 1, 1] = angles.cos()
    matrices[:, 1, 0] = angles.sin()
    matrices[:, 0, 1] = -angles.sin()
    return matrices


def flips(is_flipped: Tensor, lengths: Tensor, *, axis: int) -> Tensor:
    """Return the matrices that mirror images of given lengths along an axis, where told to.

    Args:
        is_flipped: (B,) bool.
        lengths: (B,) width or height in pixels.
        axis: 0 mirrors left and right, 1 top and bottom.
    """
    matrices = identities(len(lengths), device=lengths.device)
    matrices[:, axis, axis] = 1.0 - 2.0 * is_flipped.double()
    matrices[:, axis, 2] = is_flipped * lengths.double()
    return matrices


def about(matrices: Tensor, centres: Tensor) -> Tensor:
    """Return matrices, (B, 3, 3), that act about the points (B, 2) instead of the origin."""
    return translations(centres) @ matrices @ translations(-centres)


def transform_points(points: Tensor, matrices: Tensor) -> Tensor:
    """Return points, (B, K, 2) as x, y, moved by the matrices of their images, (B, 3, 3).

    The result has the type of the points; it is computed in float64.
    """
    matrices = matrices.double()
    moved = points.double() @ matrices[:, :2, :2].mT + matrices[:, None, :2, 2]
    return moved.to(points.dtype)


def transform_boxes(boxes: Tensor, matrices: Tensor) -> Tensor:
    """Return the upright boxes around moved boxes, (B, K, 4) as x1, y1, x2, y2.

    Flips, scales and shifts are exact; what a rotation makes of a box is the box around its four
    turned corners.
    """
    corners = boxes[..., [0, 1, 2, 1, 2, 3, 0, 3]]
    points = corners.reshape(len(boxes), 4 * boxes.shape[1], 2)
    moved = transform_points(points, matrices).view(*boxes.shape[:2], 4, 2)
    return torch.cat([moved.amin(dim=2), moved.amax(dim=2)], dim=-1)


def resample(images: Tensor, matrices: Tensor, *, size: tuple[int, int]) -> Tensor:
    """Return images moved by matrices, sampled once, bilinearly; 0 outside the image.

    Args:
        images: (B, C, H, W) floating point.
        matrices: (B, 3, 3), source to target pixels, on any device.
        size: height and width of the result.
    """
    height, width = size
    inverses = torch.linalg.inv(matrices.double())
    to_source = _from_unit(images.shape[2:], like=inverses).inverse() @ inverses
    theta = to_source @ _from_unit((height, width), like=inverses)
    # in float64, which autocast leaves alone: a bfloat16 grid would lose whole pixels
    theta = theta[:, :2].to(images.device)
    grid = F.affine_grid(theta, [len(images), 1, height, width], align_corners=False)
    # pixels at the border keep their colour up to it: it does not fade into the 0 outside
    pixels = F.grid_sample(
        images, grid.to(images.dtype), padding_mode="border", align_corners=False
    )
    return pixels * (grid.abs() <= 1.0).all(dim=-1)[:, None]


def _from_unit(size: torch.Size | tuple[int, int], *, like: Tensor) -> Tensor:
    """Return the matrix from torch's coordinates in [-1, 1] to pixels of an image (H, W)."""
    height, width = size
    rows = [[width / 2, 0.0, width / 2], [0.0, height / 2, height / 2], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=like.dtype, device=like.device)
