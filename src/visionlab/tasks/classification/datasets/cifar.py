"""CIFAR-10 and CIFAR-100 in torchvision's layout."""

from dataclasses import dataclass

import torch

from visionlab.images.cifar_files import check_num_classes, read_cifar
from visionlab.task import Data
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.records import LabelledImages
from visionlab.tasks.classification.splits import ClassificationDataset, in_memory


@dataclass(frozen=True, kw_only=True)
class Cifar(ClassificationDataset):
    """CIFAR-10 or -100 (A. Krizhevsky, "Learning multiple layers of features from tiny images").

    Attributes:
        num_classes: 10 or 100.
        root: the folder that holds `cifar-10-batches-py` or `cifar-100-python`.
        download: fetch the archive if the folder is missing.
        verify: refuse files whose md5 sums are not the official ones.
    """

    num_classes: int
    root: str
    download: bool
    verify: bool

    def __post_init__(self) -> None:
        check_num_classes(self.num_classes)

    def __call__(self, *, augmentation: Augment, seed: int, device: torch.device) -> Data:
        """Return the splits, images in the official order.

        Raises:
            FileNotFoundError: a folder or a file is missing.
            ValueError: a file is not the official one, or not a batch of images.
        """
        files = read_cifar(
            self.root, num_classes=self.num_classes, download=self.download, verify=self.verify
        )
        return in_memory(
            LabelledImages(*files.train),
            LabelledImages(*files.test),
            class_names=files.class_names,
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )
