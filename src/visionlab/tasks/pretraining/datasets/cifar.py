"""CIFAR-10 and CIFAR-100 for pretraining; labels serve evaluation alone."""

from dataclasses import dataclass

import torch

from visionlab.images.cifar_files import check_num_classes, read_cifar
from visionlab.task import Data
from visionlab.tasks.pretraining.augment import ViewAugment
from visionlab.tasks.pretraining.records import StoredImages
from visionlab.tasks.pretraining.splits import PretrainingDataset, in_memory


@dataclass(frozen=True, kw_only=True)
class Cifar(PretrainingDataset):
    """CIFAR-10 or -100, with the settings of classification's data set of this name.

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

    def __call__(self, *, augmentation: ViewAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; keys of the test images follow those of the training images.

        Raises:
            FileNotFoundError: a folder or a file is missing.
            ValueError: a file is not the official one, or not a batch of images.
        """
        files = read_cifar(
            self.root, num_classes=self.num_classes, download=self.download, verify=self.verify
        )
        return in_memory(
            StoredImages(*files.train),
            StoredImages(*files.test),
            class_names=files.class_names,
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )
