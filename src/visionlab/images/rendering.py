"""Rendering of a model's input from stored pixels: one sampling, one colour matrix, and blur."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from visionlab.core import geometry
from visionlab.images import photometric
from visionlab.images.decoding import Images, Source, Stack


class Change(NamedTuple):
    """Augmentation or view of the images of a batch.

    Attributes:
        matrices: (B, 3, 3) float64, input pixels to input pixels.
        bars: (B, 4) in [0, 1), black at the left, top, right and bottom, as shares of the side.
        colours: (B, 4, 4) float64, see `photometric`.
        blur_px: (B,) int64, odd.
    """

    matrices: Tensor
    bars: Tensor
    colours: Tensor
    blur_px: Tensor


def unchanged(count: int) -> Change:
    """Return the identity for `count` images."""
    return Change(
        matrices=geometry.identities(count, device=torch.device("cpu")),
        bars=torch.zeros(count, 4),
        colours=torch.eye(4, dtype=torch.float64).expand(count, 4, 4),
        blur_px=torch.ones(count, dtype=torch.int64),
    )


def render(
    images: Sequence[Tensor],
    matrices: Tensor,
    change: Change,
    *,
    size: tuple[int, int],
    normalisation: Tensor,
) -> Tensor:
    """Return a model's inputs, (B, 3, height, width) float32; 0, the mean colour, outside images.

    Black bars are drawn before the colours change, which affects the bars too; blur comes last.

    Args:
        images: (3, H, W) each, in [0, 255].
        matrices: (B, 3, 3), image to input pixels, without the change.
        change: augmentation or view.
        size: height and width of the result.
        normalisation: (2, 3) float32, mean and standard deviation of pixels in [0, 1].
    """
    pixels, is_inside = geometry.sample(images, change.matrices @ matrices, size=size)
    if change.bars.any():
        pixels *= _between(change.bars.to(pixels.device), size)
    pixels = photometric.recolour(pixels, change.colours, normalisation=normalisation)
    return photometric.blur(pixels.mul_(is_inside), change.blur_px)


def square_fit(sizes: Tensor, *, size_px: int) -> Tensor:
    """Return the matrices from original to input pixels of the centre square, (B, 3, 3) float64.

    Sizes are (B, 2), width and height of the original images in pixels.
    """
    sizes = sizes.double()
    scales = size_px / sizes.amin(dim=1, keepdim=True)
    margins = (sizes * scales - size_px) / 2
    return geometry.translations(-margins) @ geometry.scalings(scales.expand(-1, 2))


def square_reduction(width: int, height: int, *, size_px: int) -> int:
    """Return the integer factor by which an image may be reduced before `square_fit`."""
    return max(1, min(width, height) // size_px)


def square_images(sources: Sequence[Source], *, size_px: int, num_workers: int) -> Images:
    """Return the decoder of images for `render_square`; see `Images`."""
    return Images(
        sources,
        factor=functools.partial(square_reduction, size_px=size_px),
        num_workers=num_workers,
        hint="; dataset.skip_unreadable=true leaves out such files",
    )


def render_square(
    stack: Stack, change: Change, *, size_px: int, normalisation: Tensor
) -> tuple[Tensor, Tensor]:
    """Return inputs and matrices of a batch of decoded images, on the device of `normalisation`.

    Inputs are (B, 3, size_px, size_px) float32, 0 outside of the image, matrices (B, 3, 3) float64
    from original to input pixels. The change is one of square inputs.
    """
    fit = square_fit(stack.sizes, size_px=size_px)
    inputs = render(
        stack.images(normalisation.device),
        fit @ stack.enlargements(),
        change,
        size=(size_px, size_px),
        normalisation=normalisation,
    )
    return inputs, change.matrices @ fit


def _between(bars: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the mask of pixels beside the bars, (B, 1, height, width) bool; bars are (B, 4)."""
    height, width = size
    x = (torch.arange(width, device=bars.device) + 0.5) / width
    y = (torch.arange(height, device=bars.device) + 0.5) / height
    left, top, right, bottom = (share[:, None] for share in bars.unbind(1))
    across = (x >= left) & (x < 1.0 - right)
    down = (y >= top) & (y < 1.0 - bottom)
    return (down[:, :, None] & across[:, None, :])[:, None]
