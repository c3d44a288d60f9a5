"""Test-time views: the same image seen again, moved and recoloured, and how much it counts."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.core import geometry
from visionlab.images import photometric
from visionlab.images.rendering import Change, render, unchanged
from visionlab.task import Batch


@dataclass(frozen=True, kw_only=True)
class View:
    """One view; moves are about the centre of the picture and undone in what is predicted.

    Attributes:
        rotation_degrees: clockwise.
        scale: factor of the size; above 1 the middle of the picture is seen.
        shift: along x and y, as shares of width and height.
        mirror: left and right.
        brightness: added to pixels in [0, 1].
        contrast: factor of distances from the middle grey, after brightness.
        grey: without colour.
        blur_px: width of a Gaussian kernel, odd; 1 is none.
        weight: how much the view counts; the weights need not add up to 1.
    """

    rotation_degrees: float
    scale: float
    shift: Sequence[float]
    mirror: bool
    brightness: float
    contrast: float
    grey: bool
    blur_px: int
    weight: float

    def __post_init__(self) -> None:
        if not -360.0 <= self.rotation_degrees <= 360.0:
            raise ValueError(
                f"rotation_degrees must be in [-360, 360], got {self.rotation_degrees}"
            )
        if not 0.0 < self.scale < math.inf:
            raise ValueError(f"scale must be > 0, got {self.scale}")
        if len(self.shift) != 2 or not all(-1.0 < share < 1.0 for share in self.shift):
            raise ValueError(f"shift must be two shares in (-1, 1), got {list(self.shift)}")
        if not -1.0 <= self.brightness <= 1.0:
            raise ValueError(f"brightness must be in [-1, 1], got {self.brightness}")
        if not 0.0 <= self.contrast < math.inf:
            raise ValueError(f"contrast must be >= 0, got {self.contrast}")
        if self.blur_px < 1 or self.blur_px % 2 == 0:
            raise ValueError(f"blur_px must be an odd number >= 1, got {self.blur_px}")
        if not 0.0 <= self.weight < math.inf:
            raise ValueError(f"weight must be >= 0, got {self.weight}")

    @property
    def is_plain(self) -> bool:
        """Whether the picture stays as it is."""
        moved = self.rotation_degrees or self.scale != 1.0 or any(self.shift) or self.mirror
        recoloured = self.brightness or self.contrast != 1.0 or self.grey or self.blur_px != 1
        return not moved and not recoloured

    def change(self, count: int, *, size: tuple[int, int]) -> Change:
        """Return what the view does to `count` pictures of a height and width.

        Raises:
            ValueError: the pictures are too small for the blur.
        """
        height, width = size
        if self.blur_px > 2 * min(size) - 1:
            raise ValueError(
                f"blur_px must be at most {2 * min(size) - 1} for inputs of {width}x{height}, "
                f"got {self.blur_px}"
            )
        sides = torch.tensor([[width, height]], dtype=torch.float64)
        turn = geometry.rotations(torch.tensor([self.rotation_degrees]))
        enlarge = geometry.scalings(torch.full((1, 2), self.scale, dtype=torch.float64))
        move = geometry.translations(torch.tensor([list(self.shift)], dtype=torch.float64) * sides)
        flip = geometry.flips(torch.tensor([self.mirror]), sides[:, 0], axis=0)
        colours = photometric.contrast(torch.tensor([self.contrast])) @ photometric.brightness(
            torch.tensor([self.brightness])
        )
        colours = photometric.grey(torch.tensor([self.grey])) @ colours
        matrix = flip @ move @ geometry.about(enlarge @ turn, sides / 2)
        return unchanged(count)._replace(
            matrices=matrix.expand(count, -1, -1),
            colours=colours.expand(count, -1, -1),
            blur_px=torch.full((count,), self.blur_px),
        )


def viewed(
    batches: Iterator[Batch], views: Sequence[View], *, normalisation: Tensor
) -> Iterator[list[Batch]]:
    """Yield each batch as it is seen in each view; a plain view is the batch itself.

    For images without geometry of their own: their targets do not move.

    Args:
        batches: with inputs (B, 3, H, W) float32, normalised.
        views: what to show.
        normalisation: (2, 3) float32, mean and standard deviation.
    """
    mean, std = (values[:, None, None] for values in normalisation)
    for batch in batches:
        yield [
            batch
            if view.is_plain
            else batch._replace(
                inputs=_seen((batch.inputs * std + mean) * 255.0, view, normalisation)
            )
            for view in views
        ]


def _seen(pixels: Tensor, view: View, normalisation: Tensor) -> Tensor:
    count, _, height, width = pixels.shape
    return render(
        pixels.unbind(0),
        geometry.identities(count, device=torch.device("cpu")),
        view.change(count, size=(height, width)),
        size=(height, width),
        normalisation=normalisation,
    )
