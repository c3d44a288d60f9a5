"""Geometry of images as 3x3 matrices: what moves an image moves its points and boxes.

Pixel coordinates are continuous: x to the right, y down, pixel (i, j) covers [i, i + 1) x
[j, j + 1), so the image's corners are (0, 0) and (width, height). A matrix maps source to target
coordinates as column vectors (x, y, 1); matrices are float64 and in batches, (B, 3, 3), so that any
composition can be undone to well below a pixel. The first operation stands rightmost:
`shift @ scale`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def identities(count: int, *, device: torch.device) -> Tensor:
    """Return `count` matrices that change nothing, (count, 3, 3) float64."""
    return torch.eye(3, dtype=torch.float64, device=device).expand(count, 3, 3).clone()


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
    sizes = torch.tensor([images.shape[:1:-1]]).expand(len(images), -1)
    grid, is_inside = _grid(matrices.to(images.device), sizes, size)
    pixels = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return pixels * is_inside


def sample(
    images: Sequence[Tensor], matrices: Tensor, *, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return images of several sizes moved by matrices, and which pixels lie inside the image.

    Outside, the colour of the border goes on.

    Args:
        images: (C, H, W) each, of any type, on one device.
        matrices: (B, 3, 3), source to target pixels, on any device.
        size: height and width of the result.

    Returns:
        (B, C, height, width) float32, and (B, 1, height, width) bool.
    """
    sizes = torch.tensor([(image.shape[2], image.shape[1]) for image in images])
    grids, is_inside = _grid(matrices.to(images[0].device), sizes, size)
    pixels = [
        F.grid_sample(image[None].float(), grid[None], padding_mode="border", align_corners=False)
        for image, grid in zip(images, grids.unbind(0), strict=True)
    ]
    return torch.cat(pixels), is_inside


def _grid(matrices: Tensor, sizes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return where pixels come from, and which come from inside their image.

    Sums and products in float32 of what was inverted in float64: autocast cannot make them coarse.

    Args:
        matrices: (B, 3, 3), source to target pixels.
        sizes: (B, 2), width and height of the sources.
        size: height and width of the targets.

    Returns:
        (B, height, width, 2) float32 in torch's coordinates, in which a source goes from -1 to 1,
        and (B, 1, height, width) bool.
    """
    device = matrices.device
    across, down = (torch.arange(length, device=device) + 0.5 for length in reversed(size))
    to_source = torch.linalg.inv(matrices.double())[:, :2]
    to_unit = 2.0 / sizes.to(device).double()
    rows = to_source * to_unit[:, :, None]
    rows[:, :, 2] -= 1.0
    rows = rows.float()[:, :, :, None]
    x_part, y_part = rows[:, :, 0] * across, rows[:, :, 1] * down + rows[:, :, 2]
    grid = x_part.permute(0, 2, 1)[:, None] + y_part.permute(0, 2, 1)[:, :, None]
    is_inside = (grid[..., 0].abs() <= 1.0) & (grid[..., 1].abs() <= 1.0)
    return grid, is_inside[:, None]
