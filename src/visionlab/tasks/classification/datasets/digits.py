"""scikit-learn's handwritten digits: real images that come with every installation."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from visionlab.core import seeding
from visionlab.images.digits import CLASS_NAMES, NUM_TEST, TEST_SEED, read_digits
from visionlab.images.plain import PlainImages
from visionlab.task import Data
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.plain import plain_images
from visionlab.tasks.classification.records import LabelledImages
from visionlab.tasks.classification.splits import ClassificationDataset, in_memory

SIDE_PX = 32


@dataclass(frozen=True, kw_only=True)
class Digits(ClassificationDataset):
    """The 1,797 digits (E. Alpaydin and C. Kaynak, UCI 1998): 1,437 for training, 360 for testing.

    Each 8x8 image of grey values 0 to 16 is enlarged three times (nearest) and padded to 32x32 RGB.
    """

    def __call__(self, *, augmentation: Augment, seed: int, device: torch.device) -> Data:
        """Return the splits; keys of the test part are its row numbers."""
        digits, labels = read_digits()
        images = digit_images(digits)
        order = seeding.permutation(len(labels), seed=TEST_SEED)
        test, train = order[:NUM_TEST], order[NUM_TEST:]
        return in_memory(
            LabelledImages(images[train], labels[train]),
            LabelledImages(images[test], labels[test]),
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
        return plain_images(self, size_px=SIDE_PX, class_names=class_names, device=device)


def digit_images(grey: torch.Tensor) -> torch.Tensor:
    """Return digits, (N, 8, 8) with values 0 to 16, as (N, 3, 32, 32) uint8."""
    large = (grey * (255.0 / 16.0)).round().to(torch.uint8)
    large = large.repeat_interleave(3, dim=1).repeat_interleave(3, dim=2)
    framed = torch.nn.functional.pad(large, (4, 4, 4, 4))
    return framed[:, None].expand(-1, 3, -1, -1).contiguous()
