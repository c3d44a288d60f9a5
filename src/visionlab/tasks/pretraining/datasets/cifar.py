"""CIFAR-10 and CIFAR-100 for pretraining; labels serve evaluation alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from visionlab.images.cifar_files import SIDE_PX, CifarSettings, read_cifar
from visionlab.images.plain import PlainImages
from visionlab.task import Data
from visionlab.tasks.pretraining.augment import ViewAugment
from visionlab.tasks.pretraining.plain import plain_images
from visionlab.tasks.pretraining.records import StoredImages
from visionlab.tasks.pretraining.splits import PretrainingDataset, in_memory


@dataclass(frozen=True, kw_only=True)
class Cifar(PretrainingDataset, CifarSettings):
    """CIFAR-10 or -100, with the settings of classification's data set of this name."""

    def __call__(self, *, augmentation: ViewAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; keys of the test images follow those of the training images.

        Raises:
            FileNotFoundError: a folder or a file is missing.
            ValueError: a file is not the official one, or not a batch of images.
        """
        files = read_cifar(self)
        return in_memory(
            StoredImages(*files.train),
            StoredImages(*files.test),
            class_names=files.class_names,
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
