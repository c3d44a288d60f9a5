"""Augmentation of whole batches of images, on whatever device they are.

It depends on (seed, epoch, key) of a sample alone, not on batches, workers or resuming. Images in
memory are cropped by integer indexing; those in files get the same crop and flip as a matrix.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from visionlab.core import geometry, seeding
from visionlab.core.checks import check_px, check_range
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
        check_px(self, 0, "pad_px", "cutout_px")
        check_range(self, "[0, 1]", "flip_prob")

    def check_side(self, side_px: int) -> None:
        """Refuse a border or a square that would leave little of images with a shorter side.

        Raises:
            ValueError: a length is too large.
        """
        if 2 * self.pad_px > side_px:
            raise ValueError(
                f"augment.pad_px must be <= half the side {side_px} of the images, "
                f"got {self.pad_px}: crops would be almost black"
            )
        if self.cutout_px > side_px:
            raise ValueError(
                f"augment.cutout_px must be <= the side {side_px} of the images, "
                f"got {self.cutout_px}"
            )

    def __call__(
        self, padded: Tensor, rows: Tensor, *, draws: Tensor, normalisation: Tensor
    ) -> Tensor:
        """Return the augmented, normalised images of one batch, (B, C, H, W) float32.

        Args:
            padded: (N, C, H + 2 pad, W + 2 pad) uint8, images with their border.
            rows: (B,) int64, the images of the batch.
            draws: (B, NUM_DRAWS) in [0, 1), from `draw`.
            normalisation: (2, C) float32, mean and standard deviation of pixels in [0, 1].
        """
        height, width = (side - 2 * self.pad_px for side in padded.shape[2:])
        top, left = self._offsets(draws).T
        # one gather over a strided view of all crops
        images = padded.unfold(2, height, 1).unfold(3, width, 1)[rows, :, top, left]
        if self.flip_prob:
            flip = draws[:, 2] < self.flip_prob
            images = torch.where(flip[:, None, None, None], images.flip(3), images)
        return self.cut_out(normalise(images, normalisation), draws)

    def matrices(self, draws: Tensor, *, size_px: int) -> Tensor:
        """Return crop and flip of square images as matrices, (B, 3, 3) float64."""
        sides = torch.full((len(draws),), size_px)
        flip = geometry.flips(draws[:, 2] < self.flip_prob, sides, axis=0)
        offsets = self.pad_px - self._offsets(draws)
        return flip @ geometry.translations(offsets.flip(1))  # offsets are y, x

    def cut_out(self, images: Tensor, draws: Tensor) -> Tensor:
        """Set a square of each normalised image, (B, C, H, W), to 0 in place, the mean colour."""
        if not self.cutout_px:
            return images
        covered = []
        for middle, length in zip(draws[:, 3:5].to(images.device).T, images.shape[2:], strict=True):
            pixels = torch.arange(length, device=images.device)
            first = (middle * length).long()[:, None] - self.cutout_px // 2
            covered.append((pixels >= first) & (pixels < first + self.cutout_px))
        down, across = covered
        return images.masked_fill_(down[:, None, :, None] & across[:, None, None, :], 0.0)

    def _offsets(self, draws: Tensor) -> Tensor:
        """Return top and left of the crop in the padded image, (B, 2) int64."""
        return (draws[:, :2] * (2 * self.pad_px + 1)).long()


def draw(keys: Tensor, *, seed: int, epoch: int) -> Tensor:
    """Return the random numbers in [0, 1) of samples in an epoch, (B, NUM_DRAWS)."""
    purpose = seeding.derive(seed, "augment", epoch)
    return seeding.uniform(keys, seed=purpose, num_draws=NUM_DRAWS)


def pad(images: Tensor, pad_px: int) -> Tensor:
    """Return images, (N, C, H, W), with a black border of `pad_px` pixels on each side."""
    return F.pad(images, (pad_px, pad_px, pad_px, pad_px))


def centre(padded: Tensor, rows: Tensor, *, pad_px: int, normalisation: Tensor) -> Tensor:
    """Return the images of one batch without their border, normalised, (B, C, H, W) float32."""
    height, width = (side - pad_px for side in padded.shape[2:])
    return normalise(padded[rows, :, pad_px:height, pad_px:width], normalisation)
