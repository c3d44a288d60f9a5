"""Painted digits: scikit-learn's handwritten digits in any colour, size, place and tilt."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from visionlab.core import geometry, seeding
from visionlab.core.checks import check_at_least, check_seed
from visionlab.images.digits import NUM_TEST, TEST_SEED
from visionlab.images.photometric import LUMA
from visionlab.task import Data
from visionlab.tasks.pretraining.augment import ViewAugment
from visionlab.tasks.pretraining.records import StoredImages
from visionlab.tasks.pretraining.splits import PretrainingDataset, in_memory

SIDE_PX = 32


@dataclass(frozen=True, kw_only=True)
class PaintedDigits(PretrainingDataset):
    """Images of 32x32 of one digit each, which pixels alone do not tell apart.

    Each image depends on its digit, the seed and its number alone. No digit of scikit-learn is in
    both `train` and `test`.

    Attributes:
        num_train: images of training and validation, of 1,437 digits.
        num_test: images for testing, of 360 digits.
        seed: of the painting.
    """

    num_train: int
    num_test: int
    seed: int

    def __post_init__(self) -> None:
        check_at_least(self, 2, "num_train")
        check_at_least(self, 1, "num_test")
        check_seed(self, "seed")

    def __call__(self, *, augmentation: ViewAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; `val` is a share of the training images."""
        from sklearn.datasets import load_digits

        source = load_digits()
        digits = torch.from_numpy(source.images).float() / 16.0
        labels = torch.from_numpy(source.target).long()
        test, train = seeding.permutation(len(labels), seed=TEST_SEED).tensor_split([NUM_TEST])
        keys = torch.arange(self.num_train + self.num_test).tensor_split([self.num_train])
        parts = [
            StoredImages(paint(digits[chosen], own, seed=self.seed), labels[chosen])
            for rows, own in zip((train, test), keys, strict=True)
            for chosen in [rows[torch.arange(len(own)) % len(rows)]]
        ]
        return in_memory(
            *parts,
            class_names=[str(name) for name in source.target_names],
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )


def paint(digits: Tensor, keys: Tensor, *, seed: int) -> Tensor:
    """Return digits, (N, 8, 8) from 0 (paper) to 1 (ink), painted, (N, 3, 32, 32) uint8.

    Paper and ink are plain: shades of the paper would tell images apart better than digits do. The
    ink is lighter than dark paper and darker than light paper.
    """
    draw = partial(_draw, keys, seed)
    base = draw("base", 3)
    is_dark = (base @ torch.tensor(LUMA) < 0.5)[:, None]
    paper = torch.where(is_dark, 0.65 * base, 1.0 - 0.65 * (1.0 - base))
    ink = torch.where(is_dark, 0.6 + 0.4 * draw("ink", 3), 0.4 * draw("ink", 3))
    alpha = ((_placed(digits, draw("place", 5)) - 0.25) / 0.4).clamp(0.0, 1.0)
    images = paper[:, :, None, None].lerp(ink[:, :, None, None], alpha)
    return (images.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)


def _placed(digits: Tensor, draws: Tensor) -> Tensor:
    """Return digits enlarged to 17 to 27 pixels, tilted and moved, (N, 1, 32, 32)."""
    size, aspect, tilt, x, y = draws.double().unbind(1)
    scale = (17.0 + 10.0 * size) / 8.0
    factors = torch.stack([scale * (0.85 + 0.3 * aspect), scale], dim=1)
    turn = geometry.rotations(30.0 * (tilt - 0.5))
    room = SIDE_PX - 8.0 * factors
    centres = torch.stack([x, y], dim=1) * room + 4.0 * factors
    matrices = geometry.translations(centres) @ turn @ geometry.scalings(factors)
    matrices = matrices @ geometry.translations(torch.full((len(digits), 2), -4.0))
    return geometry.resample(digits[:, None], matrices, size=(SIDE_PX, SIDE_PX))


def _draw(keys: Tensor, seed: int, purpose: str, *shape: int) -> Tensor:
    """Return random numbers in [0, 1), (N, *shape), that depend on seed, purpose and key."""
    stream = seeding.derive(seed, "painted digits", purpose)
    numbers = seeding.uniform(keys, seed=stream, num_draws=math.prod(shape))
    return numbers.view(len(keys), *shape)
