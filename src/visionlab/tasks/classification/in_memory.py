"""Classification data in memory: labelled images to splits."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from visionlab.images.holdout import Holdout
from visionlab.images.normalise import normalisation_tensor, to_pixels
from visionlab.task import Data
from visionlab.tasks.classification.augment import Augment, pad
from visionlab.tasks.classification.memory_split import MemorySplit


class Labelled(NamedTuple):
    """Images (N, C, H, W) uint8 and their labels (N,) int64."""

    images: Tensor
    labels: Tensor


def in_memory(
    train: Labelled,
    test: Labelled,
    *,
    val: Holdout,
    class_names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    augmentation: Augment,
    seed: int,
    device: torch.device,
) -> Data:
    """Return the splits of labelled images that fit in memory.

    Args:
        train: the images that training and validation part share; keys are their row numbers.
        test: the test images.
        val: which part is validation.
        class_names: one name a label.
        mean: one value a channel, for pixels in [0, 1].
        std: likewise.
        augmentation: what is done to training images.
        seed: of order and augmentation.
        device: where the images live.

    Raises:
        ValueError: a label outside the classes, an empty set, a mean or std of another length.
    """
    check_labels(train.labels, num_classes=len(class_names))
    check_labels(test.labels, num_classes=len(class_names))
    pad_px = augmentation.pad_px
    normalisation = normalisation_tensor(mean, std, num_channels=train.images.shape[1]).to(device)
    train_rows, val_rows = val.rows(len(train.images))

    def split(data: Labelled, rows: Tensor, augmentation: Augment | None) -> MemorySplit:
        return MemorySplit(
            padded=data.images,
            targets=data.labels,
            rows=rows,
            normalisation=normalisation,
            pad_px=pad_px,
            augmentation=augmentation,
            seed=None if augmentation is None else seed,
        )

    train, test = (
        Labelled(pad(data.images.to(device), pad_px), data.labels.to(device))
        for data in (train, test)
    )
    splits = {
        "train": split(train, train_rows, augmentation),
        "train_plain": split(train, train_rows, None),
        "test": split(test, torch.arange(len(test.images)), None),
    }
    if len(val_rows):
        splits["val"] = split(train, val_rows, None)
    return Data(
        splits=splits,
        sizes={"num_classes": len(class_names)},
        class_names=class_names,
        class_ids=range(len(class_names)),
        to_pixels=functools.partial(to_pixels, normalisation=normalisation),
        unreadable=[],
    )


def check_labels(labels: Tensor, *, num_classes: int) -> None:
    """Refuse labels, (N,) int64, outside [0, num_classes), and a set without samples."""
    if len(labels) == 0:
        raise ValueError("a data set must hold at least one image, got 0")
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero()
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"labels must be in [0, {num_classes}), got {int(labels[first])} at sample {first} "
            f"({len(wrong)} such labels)"
        )
