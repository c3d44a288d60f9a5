"""Normalisation of pixels by mean and standard deviation of a data set, and its inverse."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.core.checks import is_in

# for pixels in [0, 1]; as large for those who think in levels
_RANGES = {"mean": "[-255, 255]", "std": "[1e-06, 255]"}


@dataclass(frozen=True, kw_only=True)
class ImageDataset:
    """Settings of every image data set.

    Attributes:
        mean: one value per channel, for pixels in [0, 1].
        std: likewise.
    """

    mean: Sequence[float]
    std: Sequence[float]


def normalisation_tensor(dataset: ImageDataset, *, num_channels: int) -> Tensor:
    """Return mean and standard deviation as (2, C) float32.

    Raises:
        ValueError: a length is not C, or a value is out of range.
    """
    for name, interval in _RANGES.items():
        values = list(getattr(dataset, name))
        if len(values) != num_channels:
            raise ValueError(f"dataset.{name} must have {num_channels} values, got {values}")
        if not all(is_in(interval, value) for value in values):
            raise ValueError(f"dataset.{name} must be in {interval}, got {values}")
    return torch.tensor([list(dataset.mean), list(dataset.std)], dtype=torch.float32)


def normalise(images: Tensor, normalisation: Tensor) -> Tensor:
    """Return (images / 255 - mean) / std for uint8 images (B, C, H, W) and (2, C) mean and std."""
    mean, std = normalisation[:, :, None, None]
    return images.float().div_(255.0).sub_(mean).div_(std)


def to_pixels(images: Tensor, *, normalisation: Tensor) -> Tensor:
    """Return pixels in [0, 1] of normalised images (B, C, H, W), the inverse of `normalise`."""
    mean, std = normalisation[:, :, None, None]
    pixels: Tensor = images * std + mean
    return pixels.clamp_(0.0, 1.0)
