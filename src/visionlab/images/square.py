"""The centre square of an image as a model's input: one matrix and one sampling an image."""

import functools
from collections.abc import Sequence

from torch import Tensor

from visionlab.core import geometry
from visionlab.images.decoding import Images, Source, Stack
from visionlab.images.rendering import Change, render


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
