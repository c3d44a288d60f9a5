"""Inputs of detectors: images, or crops of pages, in the upper left corners of a canvas."""

from collections.abc import Sequence

import torch
from torch import Tensor

from visionlab.core import geometry
from visionlab.images.colours import Drawn, blur, recolour
from visionlab.images.decoding import Stack
from visionlab.images.normalise import normalise
from visionlab.images.rendering import Change, render

PAD_MULTIPLE_PX = 32  # the stride of a backbone's last stage


def canvas(sizes: Tensor) -> Tensor:
    """Return the next multiples of `PAD_MULTIPLE_PX` for integer sides."""
    return (sizes + PAD_MULTIPLE_PX - 1) // PAD_MULTIPLE_PX * PAD_MULTIPLE_PX


def render_inputs(
    stack: Stack,
    matrices: Tensor,
    sizes: Tensor,
    drawn: Drawn | None,
    *,
    pages: Tensor | None,
    normalisation: Tensor,
) -> Tensor:
    """Return normalised images in the corner of a canvas, (B, 3, height, width) float32.

    Each is one of the stack, or a crop of the one that `pages` (B,) says.
    """
    device = normalisation.device
    inputs = _empty_inputs(sizes, device)
    sources = zip(*_sources(stack, pages, device), matrices, sizes.tolist(), strict=True)
    for row, (image, enlargement, matrix, (width, height)) in enumerate(sources):
        pixels, matrix = image[None], matrix @ enlargement
        if drawn is None:
            pixels = normalise(pixels, normalisation)
        else:
            pixels = recolour(pixels, drawn.of(row), normalisation=normalisation)
        pixels = geometry.resample(pixels, matrix[None], size=(height, width))
        if drawn is not None:
            pixels = blur(pixels, drawn.of(row))
        inputs[row, :, :height, :width] = pixels[0]
    return inputs


def render_view(
    stack: Stack,
    matrices: Tensor,
    sizes: Tensor,
    changes: Sequence[Change],
    *,
    pages: Tensor | None,
    normalisation: Tensor,
) -> Tensor:
    """Return the images of a view, each with a change of its own; see `render_inputs`."""
    device = normalisation.device
    inputs = _empty_inputs(sizes, device)
    sources = zip(*_sources(stack, pages, device), matrices, changes, strict=True)
    for row, (image, enlargement, matrix, change) in enumerate(sources):
        width, height = sizes[row].tolist()
        inputs[row, :, :height, :width] = render(
            [image],
            (matrix @ enlargement)[None],
            change,
            size=(height, width),
            normalisation=normalisation,
        )[0]
    return inputs


def _sources(
    stack: Stack, pages: Tensor | None, device: torch.device
) -> tuple[Sequence[Tensor], Tensor]:
    """Return the image of each input, and its matrix to original pixels, (B, 3, 3)."""
    images, enlargements = stack.images(device), stack.enlargements()
    if pages is None:
        return images, enlargements
    return [images[page] for page in pages.tolist()], enlargements[pages]


def _empty_inputs(sizes: Tensor, device: torch.device) -> Tensor:
    """Return inputs of the mean colour, (B, 3, height, width), for images of sizes (B, 2)."""
    canvas_width, canvas_height = canvas(sizes.amax(dim=0)).tolist()
    return torch.zeros(len(sizes), 3, canvas_height, canvas_width, device=device)
