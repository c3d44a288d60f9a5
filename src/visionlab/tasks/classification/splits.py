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
from visionlab.images.rendering import render_square, square_fit, square_images
from visionlab.images.splits import ImageSplit, Training
from visionlab.images.views import View, view_batch
from visionlab.task import Batch, Data, Split
from visionlab.tasks.classification.augment import Augment, centre, draw, pad
from visionlab.tasks.classification.records import LabelledFiles, LabelledImages


@dataclass(frozen=True, kw_only=True)
class ClassificationDataset(ImageDataset):
    """Settings of every classification data set.

    Attributes:
        val: share of the training images held out for validation.
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
    """Return the splits of images that fit in the memory of the training device.

    The validation part is taken from the training images; keys are row numbers. There is one class
    name per label. The seed is that of order and augmentation.

    Raises:
        ValueError: a label outside the classes, an empty set, a mean or std of another length.
    """
    augmentation.check_side(min(train.images.shape[2:]))
    check_labels(train.labels, num_classes=len(class_names))
    check_labels(test.labels, num_classes=len(class_names))
    normalisation = normalisation_tensor(dataset, num_channels=train.images.shape[1]).to(device)
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
    """Return the splits of image files: `train` and, if there are any, `val` and `test`.

    There is one class name per label. Each part is decoded by `num_workers` processes, to squares
    of `size_px`; `unreadable` files were left out. The seed is that of order and augmentation.

    Raises:
        ValueError: `num_workers` is below 0, or a mean or std of another length.
    """
    augmentation.check_side(size_px)
    normalisation = normalisation_tensor(dataset, num_channels=3).to(device)
    make = functools.partial(file_split, size_px=size_px, normalisation=normalisation)
    splits = {}
    for name, samples in parts.items():
        images = square_images(samples.sources, size_px=size_px, num_workers=num_workers)
        splits[name] = make(samples, images, training=None)
        if name == "train":
            splits["train_plain"] = splits[name]
            training = Training(augmentation=augmentation, seed=seed)
            splits["train"] = make(samples, images, training=training)
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
    """Return some rows of images in memory as a split, plain and in this order without `training`.

    The images have a border of `pad_px` and are shared between splits. Rows are (M,) int64 on the
    CPU, and the keys too; `normalisation` is (2, C) float32, mean and standard deviation, on the
    device of the images.
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
        draws = draw(keys, seed=training.seed, epoch=epoch)
        inputs = training.augmentation(images, keys, draws=draws, normalisation=normalisation)
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
    Inputs are black outside of the image.

    `normalisation` is (2, 3) float32, mean and standard deviation, on the training device.
    """
    seed, device = training.seed if training else None, normalisation.device

    def sample(stack: Stack, matrices: Tensor) -> Tensor:
        images, matrices = stack.images(device), matrices @ stack.enlargements()
        pixels, is_inside = geometry.sample(images, matrices, size=(size_px, size_px))
        return normalise(pixels.mul_(is_inside).round_(), normalisation)

    def batch(stack: Stack, inputs: Tensor, matrices: Tensor) -> Batch:
        labels, keys = samples.labels[stack.rows], samples.keys[stack.rows]
        return Batch(inputs, labels.to(device), keys.to(device), matrices.float().to(device))

    def plain(stack: Stack) -> Batch:
        matrices = square_fit(stack.sizes, size_px=size_px)
        return batch(stack, sample(stack, matrices), matrices)

    def assemble(stack: Stack, epoch: int) -> Batch:
        if training is None:
            return plain(stack)
        augmentation = training.augmentation
        draws = draw(samples.keys[stack.rows], seed=training.seed, epoch=epoch)
        fit = square_fit(stack.sizes, size_px=size_px)
        matrices = augmentation.matrices(draws, size_px=size_px) @ fit
        return batch(stack, augmentation.cut_out(sample(stack, matrices), draws), matrices)

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
    """Check that there are labels, (N,) int64, and that they are in [0, num_classes)."""
    if len(labels) == 0:
        raise ValueError("a data set must hold at least one image, got 0")
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero()
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"labels must be in [0, {num_classes}), got {int(labels[first])} at sample {first} "
            f"({len(wrong)} such labels)"
        )


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
        read_counts={},
    )
