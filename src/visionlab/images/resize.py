"""Size of an image as a model's input."""

from dataclasses import dataclass

from visionlab.core.checks import check_px


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Resize the short side to `short_px`, capping the long side at `long_px`.

    Attributes:
        short_px: length of the short side.
        long_px: maximum length of the long side.
    """

    short_px: int
    long_px: int

    def __post_init__(self) -> None:
        check_px(self, 1, "short_px", "long_px")
        if self.long_px < self.short_px:
            raise ValueError(f"long_px must be >= short_px {self.short_px}, got {self.long_px}")

    def scale(self, *, width_px: int, height_px: int) -> float:
        """Return the scale factor of an image."""
        sides = sorted((width_px, height_px))
        return min(self.short_px / sides[0], self.long_px / sides[1])

    def size(self, *, width_px: int, height_px: int) -> tuple[int, int]:
        """Return width and height of the resized image, in whole pixels of at least 1."""
        scale = self.scale(width_px=width_px, height_px=height_px)
        return max(1, round(width_px * scale)), max(1, round(height_px * scale))

    def reduction(self, width_px: int, height_px: int, *, zoom: float) -> int:
        """Return the integer factor by which an image may be reduced before it is resized.

        An augmentation scales it further by `zoom`.
        """
        scale = self.scale(width_px=width_px, height_px=height_px) * zoom
        return max(1, int(1.0 / scale + 1e-6))
