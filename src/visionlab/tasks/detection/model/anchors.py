"""Anchors: the boxes that a detector starts from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.core.checks import LARGEST_FACTOR, LARGEST_PX, is_in


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Settings of anchors (Faster R-CNN, arXiv 1506.01497, section 3.1.1).

    Unlike torchvision's, centres lie in the middle of their cells, sides are not rounded, and the
    stride is exact for canvases that are no multiple of it.

    Attributes:
        sizes_px: square root of the anchors' area on each level of features, before `scales`.
        ratios: height over width.
        scales: factors of the sizes; a location has an anchor for each scale and ratio.
    """

    sizes_px: Sequence[float]
    ratios: Sequence[float]
    scales: Sequence[float]

    def __post_init__(self) -> None:
        factors = f"[{1 / LARGEST_FACTOR}, {LARGEST_FACTOR}]"
        intervals = {"sizes_px": f"(0, {LARGEST_PX}]", "ratios": factors, "scales": factors}
        for name, interval in intervals.items():
            values = getattr(self, name)
            if not values or not all(is_in(interval, value) for value in values):
                raise ValueError(f"{name} must be numbers in {interval}, got {list(values)}")

    @property
    def num_per_cell(self) -> int:
        """How many anchors a location has."""
        return len(self.ratios) * len(self.scales)

    def cell(self, level: int) -> Tensor:
        """Return the anchors of a level about the origin, (num_per_cell, 4), scales innermost."""
        ratios = torch.tensor(list(self.ratios), dtype=torch.float64)[:, None]
        sides = self.sizes_px[level] * torch.tensor(list(self.scales), dtype=torch.float64)
        halves = torch.stack([sides / ratios.sqrt(), sides * ratios.sqrt()], dim=-1) / 2
        return torch.cat([-halves, halves], dim=-1).flatten(0, 1).float()

    def __call__(self, shapes: Sequence[tuple[int, int]], strides: Sequence[int]) -> Tensor:
        """Return all anchors, see `spread`."""
        cells = [self.cell(level) for level in range(len(self.sizes_px))]
        return spread(cells, shapes, strides)


def spread(
    cells: Sequence[Tensor], shapes: Sequence[tuple[int, int]], strides: Sequence[int]
) -> Tensor:
    """Return all anchors, (A, 4) float32 as x1, y1, x2, y2 in input pixels.

    Their order is that of the heads' output: levels, rows, columns, anchors of the location. Cells
    are the anchors of each level about the origin, (num_per_cell, 4), shapes the height and width
    of its feature map, strides the pixels between its locations.
    """
    return torch.cat(
        [
            (_centres(shape, stride, cell.device)[:, None] + cell).flatten(0, 1)
            for cell, shape, stride in zip(cells, shapes, strides, strict=True)
        ]
    )


def _centres(shape: tuple[int, int], stride: int, device: torch.device) -> Tensor:
    """Return the centre of each cell twice, (H * W, 4) as x, y, x, y."""
    ys, xs = ((torch.arange(length, device=device) + 0.5) * stride for length in shape)
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    return torch.stack([x, y, x, y], dim=-1).flatten(0, 1)


def check_box_std(values: Sequence[float], *, num_offsets: int) -> None:
    """Check the divisors of box offsets.

    Raises:
        ValueError: they are not positive numbers, one for each offset.
    """
    if len(values) != num_offsets or not all(0.0 < std < math.inf for std in values):
        raise ValueError(f"box_std must be {num_offsets} numbers > 0, got {list(values)}")
