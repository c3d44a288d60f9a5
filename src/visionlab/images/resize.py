"""How large an image is when the model sees it."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Resize:
    """The shorter side becomes `short_px`, unless the longer one would exceed `long_px`.

    Attributes:
        short_px: the shorter side, in pixels.
        long_px: what the longer side may not exceed; the shorter one is then smaller.
    """

    short_px: int
    long_px: int

    def __post_init__(self) -> None:
        if self.short_px < 1:
            raise ValueError(f"short_px must be >= 1, got {self.short_px}")
        if self.long_px < self.short_px:
            raise ValueError(f"long_px must be >= short_px {self.short_px}, got {self.long_px}")

    def scale(self, *, width_px: int, height_px: int) -> float:
        """Return the factor by which an image's sides are multiplied."""
        sides = sorted((width_px, height_px))
        return min(self.short_px / sides[0], self.long_px / sides[1])

    def size(self, *, width_px: int, height_px: int) -> tuple[int, int]:
        """Return width and height of the resized image, in whole pixels of at least 1."""
        scale = self.scale(width_px=width_px, height_px=height_px)
        return max(1, round(width_px * scale)), max(1, round(height_px * scale))


def padded(side_px: int, *, multiple_px: int) -> int:
    """Return the next multiple of `multiple_px` that is not below a side."""
    return math.ceil(side_px / multiple_px) * multiple_px
