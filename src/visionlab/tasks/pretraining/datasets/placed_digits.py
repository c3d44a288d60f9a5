"""scikit-learn's handwritten digits in any size, place and tilt."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.core import geometry, seeding
from visionlab.core.checks import check_at_least, check_seed
from visionlab.images.digits import CLASS_NAMES, NUM_TEST, TEST_SEED, read_digits
from visionlab.images.plain import PlainImages
from visionlab.task import Data
from visionlab.tasks.pretraining.augment import ViewAugment
from visionlab.tasks.pretraining.plain import plain_images
from visionlab.tasks.pretraining.records import StoredImages
from visionlab.tasks.pretraining.splits import PretrainingDataset, in_memory

SIDE_PX = 32
_PAPER, _INK = 38.0, 242.0  # of 255


@dataclass(frozen=True, kw_only=True)
class PlacedDigits(PretrainingDataset):
    """Images of 32x32 of one digit each, which pixels alone do not tell apart.

    Each image depends on its digit, the seed and its number alone. No digit of scikit-learn is in
    both `train` and `test`.

    Attributes:
        num_train: images of training and validation, of 1,437 digits.
        num_test: images for testing, of 360 digits.
        seed: of size, place and tilt.
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
        grey, labels = read_digits()
        digits = grey.float() / 16.0
        test, train = seeding.permutation(len(labels), seed=TEST_SEED).tensor_split([NUM_TEST])
        keys = torch.arange(self.num_train + self.num_test).tensor_split([self.num_train])
        parts = [
            StoredImages(place(digits[chosen], own, seed=self.seed), labels[chosen])
            for rows, own in zip((train, test), keys, strict=True)
            for chosen in [rows[torch.arange(len(own)) % len(rows)]]
        ]
        return in_memory(
            *parts,
            class_names=CLASS_NAMES,
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )

    def plain_images(
        self, *, class_names: Sequence[str], class_ids: Sequence[int], device: torch.device
    ) -> PlainImages:
        """Return how any images are shown to a model that was trained on this data set."""
        return plain_images(self, size_px=SIDE_PX, device=device)


def place(digits: Tensor, keys: Tensor, *, seed: int) -> Tensor:
    """Return digits, (N, 8, 8) from 0 (paper) to 1 (ink), at random places, (N, 3, 32, 32) uint8.

    They are 17 to 27 pixels high and tilted by up to 15 degrees. All have the same ink on the same
    paper: where colours differed, contrast told images apart by them, and learned no shapes.
    """
    stream = seeding.derive(seed, "placed digits")
    size, aspect, tilt, x, y = seeding.uniform(keys, seed=stream, num_draws=5).double().unbind(1)
    scale = (17.0 + 10.0 * size) / 8.0
    factors = torch.stack([scale * (0.85 + 0.3 * aspect), scale], dim=1)
    turn = geometry.rotations(30.0 * (tilt - 0.5))
    room = SIDE_PX - 8.0 * factors
    centres = torch.stack([x, y], dim=1) * room + 4.0 * factors
    matrices = geometry.translations(centres) @ turn @ geometry.scalings(factors)
    matrices = matrices @ geometry.translations(torch.full((len(digits), 2), -4.0))
    resampled = geometry.resample(digits[:, None], matrices, size=(SIDE_PX, SIDE_PX))
    share = ((resampled - 0.25) / 0.4).clamp(0.0, 1.0)  # of ink, with sharper edges
    shades = _PAPER + (_INK - _PAPER) * share
    return shades.round().to(torch.uint8).expand(-1, 3, -1, -1)
