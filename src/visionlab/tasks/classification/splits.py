"""Splits of labelled images, in memory or in files."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.core import geometry
from visionlab.images.batching import epoch_order, plain_batches
from visionlab.images.decoding import Images, Stack
from visionlab.images.holdout import Holdout
from visionlab.images.normalise import ImageDataset, normalisation_tensor, normalise, to_pixels
from visionlab.images.splits import ImageSplit, Training
from visionlab.images.square import render_square, square_fit, square_images
from visionlab.images.views import View, view_batch
from visionlab.task import Batch, Data, Split
from visionlab.tasks.classification.augment import (
    Augment,
    augment,
    centre,
    crop_and_flip,
    cut_out,
    draw,
    pad,
)
from visionlab.tasks.classification.records import LabelledFiles, LabelledImages


@dataclass(frozen=True, kw_only=True)
class ClassificationDataset(ImageDataset):
    """Settings of every classification data set.

    Attributes:
        val: share of the training images held out for validation.
        mean, std: see `ImageDataset`.
    """

    val: Holdout


def in_memory(
    train: LabelledImages,
    test: LabelledImages,
    *,
    class_names: Sequence[str],
    dataset: ClassificationDataset,
    augmentation: Augment,
    seed: int,
    device: torch.device,
) -> Data:
    """Return the splits of images that fit in memory.

    Args:
        train: images of the training and validation parts; keys are their row numbers.
        test: the test images.
        class_names: one name per label.
        dataset: the settings.
        augmentation: of the training images.
        seed: of order and augmentation.
        device: the training device, which holds the images.

    Raises:
        ValueError: a label outside the classes, an empty set, a mean or std of another length.
    """
    check_labels(train.labels, num_classes=len(class_names))
    check_labels(test.labels, num_classes=len(class_names))
    num_channels = train.images.shape[1]
    normalisation = normalisation_tensor(dataset.mean, dataset.std, num_channels=num_channels)
    normalisation = normalisation.to(device)
    train, test = (
        LabelledImages(pad(part.images.to(device), augmentation.pad_px), part.labels.to(device))
        for part in (train, test)
    )
    make = functools.partial(memory_split, pad_px=augmentation.pad_px, normalisation=normalisation)
    train_rows, val_rows = dataset.val.rows(len(train.images))
    training = Training(augmentation=augmentation, seed=seed)
    splits = {
        "train": make(train, train_rows, training=training),
        "train_plain": make(train, train_rows, training=None),
        "test": make(test, torch.arange(len(test.images)), training=None),
    }
    labels = {"train": train.labels[train_rows], "test": test.labels}
    if len(val_rows):
        splits["val"] = make(train, val_rows, training=None)
        labels["val"] = train.labels[val_rows]
    return _data(
        splits, labels, class_names=class_names, normalisation=normalisation, unreadable=[]
    )


def in_files(
    parts: Mapping[str, LabelledFiles],
    *,
    class_names: Sequence[str],
    size_px: int,
    num_workers: int,
    unreadable: list[str],
    dataset: ClassificationDataset,
    augmentation: Augment,
    seed: int,
    device: torch.device,
) -> Data:
    """Return the splits of image files.

    Args:
        parts: the images of `train` and, if there are any, `val` and `test`.
        class_names: one name per label.
        size_px: side of the square inputs.
        num_workers: decoding processes for each part.
        unreadable: files that were left out.
        dataset: the settings.
        augmentation: of the training images.
        seed: of order and augmentation.
        device: the training device.

    Raises:
        ValueError: `num_workers` is below 0, or a mean or std of another length.
    """
    normalisation = normalisation_tensor(dataset.mean, dataset.std, num_channels=3).to(device)
    splits = {}
    for name, samples in parts.items():
        images = square_images(samples.sources, size_px=size_px, num_workers=num_workers)
        make = functools.partial(
            file_split, samples, images, size_px=size_px, normalisation=normalisation
        )
        splits[name] = make(training=None)
        if name == "train":
            splits["train_plain"] = splits[name]
            splits["train"] = make(training=Training(augmentation=augmentation, seed=seed))
    return _data(
        splits,
        {name: samples.labels for name, samples in parts.items()},
        class_names=class_names,
        normalisation=normalisation,
        unreadable=unreadable,
    )


def memory_split(
    padded: LabelledImages,
    rows: Tensor,
    *,
    pad_px: int,
    normalisation: Tensor,
    training: Training[Augment] | None,
) -> ImageSplit[Tensor]:
    """Return some rows of images in memory as a split.

    Args:
        padded: all images with their border, and their labels; shared between splits.
        rows: (M,) int64 on the CPU, the rows of this split, which are the keys too.
        pad_px: the border.
        normalisation: (2, C) float32, mean and standard deviation, on the device of the images.
        training: augmentation and seed, or None for plain images in the order of `rows`.
    """
    images, labels = padded
    seed = training.seed if training else None

    def order(*, batch_size: int, epoch: int) -> Sequence[Tensor]:
        keys = rows[epoch_order(len(rows), seed=seed, epoch=epoch)]
        return torch.split(keys.to(images.device), batch_size)  # one copy: a GPU waits for each

    def plain(keys: Tensor) -> Batch:
        inputs = centre(images, keys, pad_px=pad_px, normalisation=normalisation)
        return Batch(inputs, labels[keys], keys)

    def assemble(keys: Tensor, epoch: int) -> Batch:
        if training is None:
            return plain(keys)
        inputs = augment(
            images,
            keys,
            augmentation=training.augmentation,
            draws=draw(keys, seed=training.seed, epoch=epoch),
            normalisation=normalisation,
        )
        return Batch(inputs, labels[keys], keys)

    def show(keys: Tensor, view: View) -> Batch:
        return view_batch(plain(keys), view, normalisation=normalisation)

    return ImageSplit(samples=rows, order=order, read=iter, assemble=assemble, show=show)


def file_split(
    samples: LabelledFiles,
    images: Images,
    *,
    size_px: int,
    normalisation: Tensor,
    training: Training[Augment] | None,
) -> ImageSplit[Stack]:
    """Return image files as a split.

    The centre square of an image, crop and flip are one matrix and one bilinear sampling; an image
    at least twice as large is first reduced by an integer factor. Pixels are then rounded to whole
    levels, so an image of `size_px` comes through bit by bit, cropped and flipped or not.

    Args:
        samples: labels and keys.
        images: the decoder of `samples.sources`.
        size_px: side of the square inputs.
        normalisation: (2, 3) float32, mean and standard deviation, on the training device.
        training: augmentation and seed, or None for plain images in the order of `samples`.
    """
    seed = training.seed if training else None

    def batch(stack: Stack, inputs: Tensor, matrices: Tensor) -> Batch:
        labels, keys = samples.labels[stack.rows], samples.keys[stack.rows]
        device = normalisation.device
        return Batch(inputs, labels.to(device), keys.to(device), matrices.float().to(device))

    def plain(stack: Stack) -> Batch:
        matrices = square_fit(stack.sizes, size_px=size_px)
        return batch(stack, _sample(stack, matrices, size_px, normalisation), matrices)

    def assemble(stack: Stack, epoch: int) -> Batch:
        if training is None:
            return plain(stack)
        augmentation = training.augmentation
        draws = draw(samples.keys[stack.rows], seed=training.seed, epoch=epoch)
        matrices = square_fit(stack.sizes, size_px=size_px)
        matrices = crop_and_flip(draws, augmentation=augmentation, size_px=size_px) @ matrices
        inputs = _sample(stack, matrices, size_px, normalisation)
        return batch(stack, cut_out(inputs, draws, side_px=augmentation.cutout_px), matrices)

    def show(stack: Stack, view: View) -> Batch:
        if view.is_plain:
            return plain(stack)
        change = view.change(len(stack.rows), size=(size_px, size_px))
        rendered = render_square(stack, change, size_px=size_px, normalisation=normalisation)
        return batch(stack, *rendered)

    return ImageSplit(
        samples=samples,
        order=functools.partial(plain_batches, len(samples), seed=seed),
        read=images.batches,
        assemble=assemble,
        show=show,
    )


def check_labels(labels: Tensor, *, num_classes: int) -> None:
    """Check that there are labels, (N,) int64, and that they are in [0, num_classes).

    Raises:
        ValueError: a label is not, or there is none.
    """
    if len(labels) == 0:
        raise ValueError("a data set must hold at least one image, got 0")
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero()
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"labels must be in [0, {num_classes}), got {int(labels[first])} at sample {first} "
            f"({len(wrong)} such labels)"
        )


def _sample(stack: Stack, matrices: Tensor, size_px: int, normalisation: Tensor) -> Tensor:
    """Return normalised inputs (B, 3, size_px, size_px), black outside of the images."""
    pixels, is_inside = geometry.sample(
        stack.images(normalisation.device),
        matrices @ stack.enlargements(),
        size=(size_px, size_px),
    )
    return normalise(pixels.mul_(is_inside).round_(), normalisation)


def _data(
    splits: Mapping[str, Split],
    labels: Mapping[str, Tensor],
    *,
    class_names: Sequence[str],
    normalisation: Tensor,
    unreadable: list[str],
) -> Data:
    return Data(
        splits=splits,
        sizes={"num_classes": len(class_names)},
        class_names=class_names,
        class_ids=range(len(class_names)),
        class_counts={
            name: torch.bincount(each, minlength=len(class_names)).tolist()
            for name, each in labels.items()
        },
        to_pixels=functools.partial(to_pixels, normalisation=normalisation),
        unreadable=unreadable,
    )
