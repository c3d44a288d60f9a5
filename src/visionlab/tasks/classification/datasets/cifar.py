"""CIFAR-10 and CIFAR-100 in torchvision's layout."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from visionlab.images.cifar_files import SIDE_PX, CifarSettings, read_cifar
from visionlab.images.plain import PlainImages
from visionlab.task import Data
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.plain import plain_images
from visionlab.tasks.classification.records import LabelledImages
from visionlab.tasks.classification.splits import ClassificationDataset, in_memory


@dataclass(frozen=True, kw_only=True)
class Cifar(ClassificationDataset, CifarSettings):
    """CIFAR-10 or -100 (A. Krizhevsky, "Learning multiple layers of features from tiny images")."""

    def __call__(self, *, augmentation: Augment, seed: int, device: torch.device) -> Data:
        """Return the splits, images in the official order.

        Raises:
            FileNotFoundError: a folder or a file is missing.
            ValueError: a file is not the official one, or not a batch of images.
        """
        files = read_cifar(self)
        return in_memory(
            LabelledImages(*files.train),
            LabelledImages(*files.test),
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
        return plain_images(self, size_px=SIDE_PX, class_names=class_names, device=device)
