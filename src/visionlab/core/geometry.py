"""Image geometry as 3x3 matrices: the same matrix moves an image, its points and its boxes.

Pixel coordinates are continuous: x to the right, y down, pixel (i, j) covers [i, i + 1) x
[j, j + 1), so the image's corners are (0, 0) and (width, height). A matrix maps source to target
coordinates as column vectors (x, y, 1). Matrices are batched (B, 3, 3) float64, so that any
composition can be inverted with an error far below a pixel. The first operation is the rightmost
factor: `shift @ scale` scales first.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def identities(count: int, *, device: torch.device) -> Tensor:
    """Return `count` identity matrices, (count, 3, 3) float64."""
    return torch.eye(3, dtype=torch.float64, device=device).expand(count, 3, 3).clone()


def translations(offsets: Tensor) -> Tensor:
    """Return translation matrices for offsets (B, 2) as x, y in pixels."""
    matrices = identities(len(offsets), device=offsets.device)
    matrices[:, :2, 2] = offsets.double()
    return matrices


def scalings(factors: Tensor) -> Tensor:
    """Return scaling matrices for factors (B, 2) as x, y."""
    matrices = identities(len(factors), device=factors.device)
    matrices[:, 0, 0], matrices[:, 1, 1] = factors.double().unbind(1)
    return matrices


def rotations(degrees: Tensor) -> Tensor:
    """Return rotation matrices about the origin; degrees (B,) are clockwise on the screen."""
    angles = degrees.double().deg2rad()
    matrices = identities(len(degrees), device=degrees.device)
    matrices[:, 0, 0] = matrices[:, 1, 1] = angles.cos()
    matrices[:, 1, 0] = angles.sin()
    matrices[:, 0, 1] = -angles.sin()
    return matrices


def flips(is_flipped: Tensor, lengths: Tensor, *, axis: int) -> Tensor:
    """Return mirror matrices for the flipped images, (B,) bool, and identities for the others.

    Axis 0 swaps left and right, axis 1 top and bottom; lengths, (B,), are the images' width or
    height in pixels.
    """
    matrices = identities(len(lengths), device=lengths.device)
    matrices[:, axis, axis] = 1.0 - 2.0 * is_flipped.double()
    matrices[:, axis, 2] = is_flipped * lengths.double()
    return matrices


def about(matrices: Tensor, centres: Tensor) -> Tensor:
    """Return matrices (B, 3, 3) that act about the points `centres` (B, 2), not the origin."""
    return translations(centres) @ matrices @ translations(-centres)


def transform_points(points: Tensor, matrices: Tensor) -> Tensor:
    """Transform points (B, K, 2), as x, y, by the matrices (B, 3, 3) of their images.

    The result keeps the dtype of the points and is computed in float64.
    """
    matrices = matrices.double()
    moved = points.double() @ matrices[:, :2, :2].mT + matrices[:, None, :2, 2]
    return moved.to(points.dtype)


def transform_boxes(boxes: Tensor, matrices: Tensor) -> Tensor:
    """Return the axis-aligned bounds of transformed boxes, (B, K, 4) as x1, y1, x2, y2.

    Flips, scalings and translations are exact. A rotated box becomes the bounding box of its four
    rotated corners.
    """
    corners = boxes[..., [0, 1, 2, 1, 2, 3, 0, 3]]
    points = corners.reshape(len(boxes), 4 * boxes.shape[1], 2)
    moved = transform_points(points, matrices).view(*boxes.shape[:2], 4, 2)
    return torch.cat([moved.amin(dim=2), moved.amax(dim=2)], dim=-1)


def resample(images: Tensor, matrices: Tensor, *, size: tuple[int, int]) -> Tensor:
    """Warp images by matrices with one bilinear resampling; 0 outside the source image.

    Images are (B, C, H, W) floating point, matrices (B, 3, 3) from source to target pixels, on any
    device, and the size is the output's height and width.
    """
    sizes = torch.tensor([images.shape[:1:-1]]).expand(len(images), -1)
    grid, is_inside = _grid(matrices.to(images.device), sizes, size)
    pixels = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return pixels * is_inside


def sample(
    images: Sequence[Tensor], matrices: Tensor, *, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Warp images of different sizes; also return which pixels lie inside the source image.

    Pixels outside repeat the border colour. Images are (C, H, W) each, of any dtype and all on one
    device; matrices and size are those of `resample`.

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
    """Return the sampling grid, and which of its points lie inside the source image.

    The matrices are inverted in float64. The grid itself uses float32 sums and products, which
    autocast does not lower to bf16 as it would a matmul. Sizes are (B, 2), source width and height.

    Returns:
        (B, height, width, 2) float32 in normalised coordinates of `grid_sample`, in which the
        source spans [-1, 1], and (B, 1, height, width) bool.
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
