"""Test-time views: an image moved and recoloured, with the weight of its prediction."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.core import geometry
from visionlab.core.checks import LARGEST_FACTOR, check_at_least, check_range
from visionlab.images import photometric
from visionlab.images.rendering import Change, render, unchanged
from visionlab.task import Batch


@dataclass(frozen=True, kw_only=True)
class View:
    """A view; moves are about the centre of the image and undone in the predictions.

    Attributes:
        rotation_degrees: clockwise.
        scale: magnification; above 1 only the centre of the image is visible.
        shift: along x and y, as shares of width and height.
        mirror: whether left and right are swapped.
        brightness: added to pixels in [0, 1].
        contrast: factor of differences from middle grey, applied after brightness.
        grey: whether colour is removed.
        blur_px: width of a Gaussian kernel, odd; 1 is no blur.
        weight: of the view in the mean of predictions; the weights need not add up to 1.
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
        check_range(self, "[-360, 360]", "rotation_degrees")
        check_range(self, "[-1, 1]", "brightness")
        check_range(self, f"[{1 / LARGEST_FACTOR}, {LARGEST_FACTOR}]", "scale")
        check_range(self, f"[0, {LARGEST_FACTOR}]", "contrast")
        check_at_least(self, 0, "weight")
        if len(self.shift) != 2 or not all(-1.0 < share < 1.0 for share in self.shift):
            raise ValueError(f"shift must be two shares in (-1, 1), got {list(self.shift)}")
        if self.blur_px < 1 or self.blur_px % 2 == 0:
            raise ValueError(f"blur_px must be an odd number >= 1, got {self.blur_px}")

    @property
    def is_plain(self) -> bool:
        """Whether the view leaves an image unchanged."""
        moved = self.rotation_degrees or self.scale != 1.0 or any(self.shift) or self.mirror
        recoloured = self.brightness or self.contrast != 1.0 or self.grey or self.blur_px != 1
        return not moved and not recoloured

    def change(self, count: int, *, size: tuple[int, int]) -> Change:
        """Return the view as a change of `count` images of a height and width.

        Raises:
            ValueError: the images are too small for the blur.
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
        brighter = photometric.brightness(torch.tensor([self.brightness]))
        colours = photometric.contrast(torch.tensor([self.contrast])) @ brighter
        colours = photometric.grey(torch.tensor([self.grey])) @ colours
        matrix = flip @ move @ geometry.about(enlarge @ turn, sides / 2)
        return unchanged(count)._replace(
            matrices=matrix.expand(count, -1, -1),
            colours=colours.expand(count, -1, -1),
            blur_px=torch.full((count,), self.blur_px),
        )


def view_batch(batch: Batch, view: View, *, normalisation: Tensor) -> Batch:
    """Return one view of a batch of normalised images (B, 3, H, W); a plain view is the batch.

    For images without geometry of their own: their targets do not move.
    """
    if view.is_plain:
        return batch
    mean, std = (values[:, None, None] for values in normalisation)
    pixels = (batch.inputs * std + mean) * 255.0
    count, _, height, width = pixels.shape
    inputs = render(
        pixels.unbind(0),
        geometry.identities(count, device=torch.device("cpu")),
        view.change(count, size=(height, width)),
        size=(height, width),
        normalisation=normalisation,
    )
    return batch._replace(inputs=inputs)
