"""Augmentation of whole batches of images, on whatever device they are.

It depends on (seed, epoch, key) of a sample alone, not on batches, workers or resuming. Images in
memory are cropped by integer indexing; those in files get the same crop and flip as a matrix.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from visionlab.core import geometry, seeding
from visionlab.core.checks import check_at_least, check_range
from visionlab.images.normalise import normalise

# top, left, flip, cutout y, cutout x: disabling one does not shift the others
NUM_DRAWS = 5


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Zero-padding with a random crop back to size, a horizontal flip, and cutout.

    Attributes:
        pad_px: black border on each side before the crop (He et al., arXiv 1512.03385, section
            4.2).
        flip_prob: probability of a horizontal flip.
        cutout_px: side of a square set to the mean colour, centred anywhere in the image and
            clipped by its border (DeVries and Taylor, arXiv 1708.04552); 0 is off.
    """

    pad_px: int
    flip_prob: float
    cutout_px: int

    def __post_init__(self) -> None:
        check_at_least(self, 0, "pad_px", "cutout_px")
        check_range(self, "[0, 1]", "flip_prob")


def draw(keys: Tensor, *, seed: int, epoch: int) -> Tensor:
    """Return the random numbers in [0, 1) of samples in an epoch, (B, NUM_DRAWS)."""
    purpose = seeding.derive(seed, "augment", epoch)
    return seeding.uniform(keys, seed=purpose, num_draws=NUM_DRAWS)


def pad(images: Tensor, pad_px: int) -> Tensor:
    """Return images, (N, C, H, W), with a black border of `pad_px` pixels on each side."""
    return F.pad(images, (pad_px, pad_px, pad_px, pad_px))


def augment(
    padded: Tensor, rows: Tensor, *, augmentation: Augment, draws: Tensor, normalisation: Tensor
) -> Tensor:
    """Return the augmented, normalised images of one batch.

    Args:
        padded: (N, C, H + 2 pad, W + 2 pad) uint8, images with their border.
        rows: (B,) int64, the images of the batch.
        augmentation: the settings.
        draws: (B, NUM_DRAWS) in [0, 1), from `draw`.
        normalisation: (2, C) float32, mean and standard deviation of pixels in [0, 1].

    Returns:
        (B, C, H, W) float32.
    """
    images = _crop(padded, rows, _offsets(draws, augmentation.pad_px), 2 * augmentation.pad_px + 1)
    if augmentation.flip_prob:
        flip = draws[:, 2] < augmentation.flip_prob
        images = torch.where(flip[:, None, None, None], images.flip(3), images)
    return cut_out(normalise(images, normalisation), draws, side_px=augmentation.cutout_px)


def centre(padded: Tensor, rows: Tensor, *, pad_px: int, normalisation: Tensor) -> Tensor:
    """Return the images of one batch without their border, normalised, (B, C, H, W) float32."""
    height, width = (side - pad_px for side in padded.shape[2:])
    return normalise(padded[rows, :, pad_px:height, pad_px:width], normalisation)


def crop_and_flip(draws: Tensor, *, augmentation: Augment, size_px: int) -> Tensor:
    """Return crop and flip of square images as matrices, (B, 3, 3) float64.

    Args:
        draws: (B, NUM_DRAWS) in [0, 1), from `draw`.
        augmentation: the settings.
        size_px: side of the images.
    """
    offsets = augmentation.pad_px - _offsets(draws, augmentation.pad_px)
    sides = torch.full((len(draws),), size_px)
    flip = geometry.flips(draws[:, 2] < augmentation.flip_prob, sides, axis=0)
    return flip @ geometry.translations(offsets.flip(1))  # offsets are y, x


def cut_out(images: Tensor, draws: Tensor, *, side_px: int) -> Tensor:
    """Set a square of each normalised image, (B, C, H, W), to 0 in place, the mean colour.

    Args:
        images: the images.
        draws: (B, NUM_DRAWS) in [0, 1), from `draw`.
        side_px: side of the square; 0 is none.
    """
    if side_px:
        images.masked_fill_(_holes(draws[:, 3:5].to(images.device), images, side_px), 0.0)
    return images


def _offsets(draws: Tensor, pad_px: int) -> Tensor:
    """Return top and left of the crop in the padded image, (B, 2) int64."""
    return (draws[:, :2] * (2 * pad_px + 1)).long()


def _crop(padded: Tensor, rows: Tensor, offsets: Tensor, num_offsets: int) -> Tensor:
    """Crop each image at its offset, (B, 2) as top and left: one gather over a strided view."""
    size = [side - num_offsets + 1 for side in padded.shape[2:]]
    windows = padded.unfold(2, size[0], 1).unfold(3, size[1], 1)
    return windows[rows, :, offsets[:, 0], offsets[:, 1]]


def _holes(centres: Tensor, images: Tensor, side: int) -> Tensor:
    """Return the mask of the squares, (B, 1, H, W) bool; centres are (B, 2) y, x in [0, 1)."""
    covered = []
    for axis, length in enumerate(images.shape[2:]):
        pixels = torch.arange(length, device=images.device)
        first = (centres[:, axis] * length).long() - side // 2
        covered.append((pixels >= first[:, None]) & (pixels < first[:, None] + side))
    return (covered[0][:, :, None] & covered[1][:, None, :])[:, None]
