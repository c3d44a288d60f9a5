"""Crops of long pages, which a detector sees one after another."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.core import seeding
from visionlab.core.checks import check_positive, check_px, check_range


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Square crops of a page, then resized; in place of `Resize` of whole images.

    In training, each page gives one crop an epoch, at a random place. Otherwise crops cover the
    page, and the detections of all of them go through NMS together. An object that is cut is seen
    whole in another crop if it is no longer than the overlap.

    Attributes:
        size_px: side of a crop in pixels of the page; a shorter page is taken whole.
        input_px: its side as the model's input.
        overlap_px: minimum overlap of neighbours, in pixels of the page.
        min_visible: a cut object is left out of a crop that has less than this share of its area.
        enough_visible_px: but with at least this area in the crop, in square pixels of the page, it
            stays, whatever its share, as a long slur; None for the share alone.
    """

    size_px: int
    input_px: int
    overlap_px: int
    min_visible: float
    enough_visible_px: float | None

    def __post_init__(self) -> None:
        check_px(self, 1, "size_px", "input_px")
        check_range(self, "[0, 1]", "min_visible")
        if self.enough_visible_px is not None:
            check_positive(self, "enough_visible_px")
        if not 0 <= self.overlap_px < self.size_px:
            raise ValueError(f"overlap_px must be in [0, {self.size_px}), got {self.overlap_px}")

    @property
    def long_px(self) -> int:
        """Maximum length of the long side of an input."""
        return self.input_px

    def scale(self, *, width_px: int, height_px: int) -> float:
        """Return the scale factor of a page, which is that of every page."""
        return self.input_px / self.size_px

    def size(self, *, width_px: int, height_px: int) -> tuple[int, int]:
        """Return width and height of the crops of a page as inputs."""
        scale = self.input_px / self.size_px
        width, height = (
            max(1, round(min(side, self.size_px) * scale)) for side in (width_px, height_px)
        )
        return width, height

    def reduction(self, width_px: int, height_px: int, *, zoom: float) -> int:
        """Return the integer factor by which a page may be reduced first, see `Resize`."""
        return max(1, int(self.size_px / (self.input_px * zoom) + 1e-6))

    def draw(self, keys: Tensor, sizes: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Return the upper left corners of random crops in an epoch, (B, 2) float64.

        Keys are (B,) int64, sizes (B, 2) width and height of the pages.
        """
        purpose = seeding.derive(seed, "crops", epoch)
        draws = seeding.uniform(keys, seed=purpose, num_draws=2).double()
        return (draws * ((sizes - self.size_px).clamp(min=0) + 1)).floor()

    def grids(self, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Return pages (R,) int64 and upper left corners (R, 2) float64 of crops that cover pages.

        Sizes are (B, 2) integers, width and height of the pages.
        """
        grids = [
            torch.cartesian_prod(self._starts(height), self._starts(width)).view(-1, 2).flip(1)
            for width, height in sizes.tolist()
        ]
        counts = torch.tensor([len(grid) for grid in grids])
        return torch.arange(len(grids)).repeat_interleave(counts), torch.cat(grids)

    def _starts(self, length: int) -> Tensor:
        """Return where crops start along a side, evenly spread over whole pixels, float64."""
        rest = max(0, length - self.size_px)
        count = 1 + math.ceil(rest / (self.size_px - self.overlap_px))
        return torch.linspace(0, rest, count, dtype=torch.float64).floor()
