"""Colour jitter and blur of whole batches, as MoCo and SimCLR use them.

Colours are (red, green, blue, 1) with pixels in [0, 1]; matrices are (B, 4, 4) float64, and the
first operation is the rightmost factor, as in `photometric.py`.
"""

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from visionlab.images.photometric import LUMA

_ORDERS = torch.tensor(list(itertools.permutations(range(4))))


class Jitter(NamedTuple):
    """Strengths of a colour jitter, (B,) each.

    Attributes:
        brightness: factor on all channels.
        contrast: factor on the distance from the mean luma of the image.
        saturation: factor on the distance from the luma of each pixel.
        hue: turns, in [-0.5, 0.5].
        order: in [0, 1), one of the 24 orders of the four.
    """

    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor
    order: Tensor


def colour_matrices(jitter: Jitter, colours: Tensor) -> Tensor:
    """Return the matrices of a jitter for images with mean colours (B, 3) in [0, 1].

    As torchvision's `ColorJitter`, with two deviations: pixels are clipped once, at the end, and
    the hue turns about the grey axis, which keeps the mean of the channels, where HSV keeps the
    largest and the smallest one.
    """
    jitter = Jitter(*(each.to(colours.device, torch.float64) for each in jitter))
    means = torch.cat([colours.double(), colours.new_ones(len(colours), 1).double()], dim=1)
    fixed = [_scalings(jitter.brightness), saturation(jitter.saturation), hue(jitter.hue)]
    orders = _ORDERS[(jitter.order * len(_ORDERS)).long().cpu()].to(colours.device)
    images = torch.arange(len(colours), device=colours.device)
    total = torch.eye(4, dtype=torch.float64, device=colours.device).expand(len(colours), 4, 4)
    for place in range(4):
        moved = (total @ means[:, :, None])[:, :3, 0]
        stretch = contrast(jitter.contrast, moved @ _luma(colours.device))
        total = torch.stack([*fixed, stretch])[orders[:, place], images] @ total
    return total


def contrast(factors: Tensor, levels: Tensor) -> Tensor:
    """Return the matrices that multiply the distance from grey levels (B,) by factors (B,)."""
    matrices = _scalings(factors)
    matrices[:, :3, 3] = ((1.0 - factors) * levels)[:, None]
    return matrices


def saturation(factors: Tensor) -> Tensor:
    """Return the matrices that multiply the distance from each pixel's luma by factors (B,)."""
    grey = _luma(factors.device).expand(3, 3)
    matrices = _scalings(factors)
    matrices[:, :3, :3] += (1.0 - factors)[:, None, None] * grey
    return matrices


def hue(turns: Tensor) -> Tensor:
    """Return the matrices that rotate colours about grey by (B,) turns, red towards yellow.

    Rodrigues' formula for the axis (1, 1, 1): the mean of the three channels does not change.
    """
    angles = 2.0 * math.pi * turns[:, None, None]
    across = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=turns.device)
    across = across.double() / math.sqrt(3.0)
    matrices = _scalings(torch.ones_like(turns))
    matrices[:, :3, :3] += angles.sin() * across + (1.0 - angles.cos()) * (across @ across)
    return matrices


def gaussian_blur(images: Tensor, sigmas: Tensor) -> Tensor:
    """Return images (B, C, H, W) blurred by Gaussians of (B,) standard deviations in pixels.

    0 leaves an image as it is. At the border the weights within the image add up to 1.
    """
    rows = sigmas.nonzero()[:, 0].to(images.device)
    if not len(rows):
        return images
    down, across = (_weights(length, sigmas[sigmas > 0].to(images)) for length in images.shape[2:])
    blurred = images.clone()
    with torch.autocast(images.device.type, enabled=False):
        blurred[rows] = down @ images[rows] @ across.mT
    return blurred


def _weights(length: int, sigmas: Tensor) -> Tensor:
    """Return the weight of each pixel of a line in each pixel of the blurred one, (B, 1, L, L)."""
    places = torch.arange(length, device=sigmas.device)
    distances = (places[:, None] - places) / sigmas[:, None, None]
    weights = torch.exp(-0.5 * distances.square())
    return (weights / weights.sum(dim=2, keepdim=True))[:, None]


def _scalings(factors: Tensor) -> Tensor:
    """Return the matrices that multiply all channels by (B,) factors."""
    matrices = torch.eye(4, dtype=torch.float64, device=factors.device).repeat(len(factors), 1, 1)
    matrices[:, :3, :3] *= factors[:, None, None]
    return matrices


def _luma(device: torch.device) -> Tensor:
    return torch.tensor(LUMA, dtype=torch.float64, device=device)
