"""Splits of images for pretraining: pairs of views for training, plain images with labels else."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from visionlab.core import geometry
from visionlab.images.batching import epoch_order, plain_batches
from visionlab.images.colours import blur, recolour
from visionlab.images.decoding import Images, Stack
from visionlab.images.holdout import Holdout
from visionlab.images.normalise import ImageDataset, normalisation_tensor, normalise, to_pixels
from visionlab.images.rendering import square_fit, square_images
from visionlab.images.splits import ImageSplit, Read, Training
from visionlab.task import Batch, Data
from visionlab.tasks.pretraining.augment import ViewAugment
from visionlab.tasks.pretraining.records import NO_LABEL, ImageFiles, StoredImages

Sample = Callable[[Tensor], Tensor]  # maps matrices (B, 3, 3) to pixels (B, 3, H, W) in [0, 255]


@dataclass(frozen=True, kw_only=True)
class PretrainingDataset(ImageDataset):
    """Settings of every data set for pretraining.

    Attributes:
        val: share of the training images held out for validation, if they have labels.
    """

    val: Holdout


def in_memory(
    train: StoredImages,
    test: StoredImages,
    *,
    class_names: Sequence[str],
    dataset: PretrainingDataset,
    augmentation: ViewAugment,
    seed: int,
    device: torch.device,
) -> Data:
    """Return the splits of labelled images that fit in the memory of the training device.

    The validation part is taken from the training images. Keys are row numbers, those of the test
    part after those of the training part. The seed is that of order and augmentation.

    Raises:
        ValueError: there are fewer than two images, or a mean or std of another length.
    """
    count = len(train.images)
    images, labels = (torch.cat(part).to(device) for part in zip(train, test, strict=True))
    normalisation = normalisation_tensor(dataset, num_channels=3).to(device)
    size_px = min(images.shape[2:])
    make = functools.partial(
        memory_split,
        StoredImages(images, labels),
        size_px=size_px,
        normalisation=normalisation,
    )
    train_rows, val_rows = dataset.val.rows(count)
    rows = {"val": val_rows, "test": torch.arange(count, len(images))}
    return _data(
        make(train_rows, training=Training(augmentation=augmentation, seed=seed)),
        make(train_rows, training=None),
        {name: make(part, training=None) for name, part in rows.items() if len(part)},
        labels={name: labels[part] for name, part in {"train": train_rows, **rows}.items()},
        class_names=class_names,
        size_px=size_px,
        normalisation=normalisation,
    )


def in_files(
    parts: Mapping[str, ImageFiles],
    *,
    class_names: Sequence[str],
    size_px: int,
    num_workers: int,
    unreadable: list[str],
    read_counts: Mapping[str, Mapping[str, int]],
    dataset: PretrainingDataset,
    augmentation: ViewAugment,
    seed: int,
    device: torch.device,
) -> Data:
    """Return the splits of image files: `train` and, if there are any, `val` and `test`.

    Inputs are squares of `size_px`; `num_workers` processes decode each part. `unreadable` and
    `read_counts` are those of `Data`. The seed is that of order and augmentation.

    Raises:
        ValueError: there are fewer than two images, or a mean or std of another length.
    """
    normalisation = normalisation_tensor(dataset, num_channels=3).to(device)
    make = functools.partial(file_split, size_px=size_px, normalisation=normalisation)
    train = parts["train"]
    smallest = train.boxes.smallest_side() * augmentation.crop_area[0] ** 0.5
    zoomed_px = round(size_px / smallest)  # so that no crop is blurred
    decoders = {
        name: square_images(part.sources, size_px=size_px, num_workers=num_workers)
        for name, part in parts.items()
    }
    crops = square_images(train.sources, size_px=zoomed_px, num_workers=num_workers)
    training = Training(augmentation=augmentation, seed=seed)
    plain = {name: make(part, decoders[name], training=None) for name, part in parts.items()}
    return _data(
        make(train, crops, training=training),
        plain.pop("train"),
        plain,
        labels={name: part.labels for name, part in parts.items()},
        class_names=class_names,
        size_px=size_px,
        normalisation=normalisation,
        unreadable=unreadable,
        read_counts=read_counts,
    )


def memory_split(
    stored: StoredImages,
    rows: Tensor,
    *,
    size_px: int,
    normalisation: Tensor,
    training: Training[ViewAugment] | None,
) -> ImageSplit[Tensor]:
    """Return some rows, (M,) int64, of images in memory: pairs of views, or plain.

    `normalisation` is (2, 3) float32, mean and standard deviation, on the device of the images.
    """
    images, labels = stored
    seed = training.seed if training else None

    def order(*, batch_size: int, epoch: int) -> Sequence[Tensor]:
        keys = rows[epoch_order(len(rows), seed=seed, epoch=epoch)]
        return torch.split(keys.to(images.device), batch_size)

    def assemble(keys: Tensor, epoch: int) -> Batch:
        pixels = images[keys].float()
        sizes = torch.tensor([images.shape[:1:-1]], device=images.device).expand(len(keys), 2)

        def sample(matrices: Tensor) -> Tensor:
            return geometry.resample(pixels, matrices, size=(size_px, size_px))

        if training is None:
            return _plain(sample, keys, sizes, labels[keys], size_px, normalisation)
        inputs = views(
            sample,
            keys,
            torch.cat([torch.zeros_like(sizes), sizes], dim=1),
            training=training,
            epoch=epoch,
            size_px=size_px,
            normalisation=normalisation,
        )
        return Batch(inputs, labels[keys], keys)

    return ImageSplit(samples=rows, order=order, read=iter, assemble=assemble, show=None)


def file_split(
    files: ImageFiles,
    images: Images,
    *,
    size_px: int,
    normalisation: Tensor,
    training: Training[ViewAugment] | None,
) -> ImageSplit[Stack]:
    """Return image files as a split: pairs of views, or centre squares; each is decoded once.

    `normalisation` is (2, 3) float32, mean and standard deviation, on the training device.
    """
    seed, device = training.seed if training else None, normalisation.device

    def assemble(stack: Stack, epoch: int) -> Batch:
        pixels, keys = stack.images(device), files.keys[stack.rows]
        labels = files.labels[stack.rows].to(device)

        def sample(matrices: Tensor) -> Tensor:
            matrices = matrices @ stack.enlargements()
            return geometry.sample(pixels, matrices, size=(size_px, size_px))[0]

        if training is None:
            return _plain(sample, keys.to(device), stack.sizes, labels, size_px, normalisation)
        boxes = files.boxes.draw(stack.rows, keys, seed=training.seed, epoch=epoch)
        inputs = views(
            sample,
            keys,
            boxes * stack.sizes.repeat(1, 2),
            training=training,
            epoch=epoch,
            size_px=size_px,
            normalisation=normalisation,
        )
        return Batch(inputs, labels, keys.to(device))

    return ImageSplit(
        samples=files,
        order=functools.partial(plain_batches, len(files), seed=seed),
        read=images.batches,
        assemble=assemble,
        show=None,
    )


def views(
    sample: Sample,
    keys: Tensor,
    regions: Tensor,
    *,
    training: Training[ViewAugment],
    epoch: int,
    size_px: int,
    normalisation: Tensor,
) -> Tensor:
    """Return two views of each image, (B, 2, 3, size_px, size_px) float32.

    Args:
        sample: renders the images moved by matrices, original to input pixels.
        keys: (B,) int64, of the images.
        regions: (B, 4), x1, y1, x2, y2 in pixels, the boxes of the images that are cropped.
        training: augmentation and its seed.
        epoch: counted from 0.
        size_px: side of the views.
        normalisation: (2, 3) float32, mean and standard deviation of pixels in [0, 1].
    """
    augmentation, pair = training.augmentation, []
    for view in range(2):
        draws = augmentation.draw(keys, seed=training.seed, epoch=epoch, view=view)
        pixels = sample(augmentation.matrices(draws, regions, size_px=size_px))
        images = recolour(pixels, draws.colours, normalisation=normalisation)
        pair.append(blur(images, draws.colours))
    return torch.stack(pair, dim=1)


def _plain(
    sample: Sample,
    keys: Tensor,
    sizes: Tensor,
    labels: Tensor,
    size_px: int,
    normalisation: Tensor,
) -> Batch:
    matrices = square_fit(sizes, size_px=size_px)
    inputs = normalise(sample(matrices), normalisation)
    return Batch(inputs, labels, keys, matrices.float().to(inputs.device))


def _data(
    train: ImageSplit[Read],
    plain: ImageSplit[Read],
    others: Mapping[str, ImageSplit[Read]],
    *,
    labels: Mapping[str, Tensor],
    class_names: Sequence[str],
    size_px: int,
    normalisation: Tensor,
    unreadable: Sequence[str] = (),
    read_counts: Mapping[str, Mapping[str, int]] | None = None,
) -> Data:
    """Return the data; plain training images with labels are the bank of all splits."""
    if len(train) < 2:
        raise ValueError(f"dataset must hold at least 2 training images, got {len(train)}")
    bank = plain if class_names else None
    counts = {name: each[each != NO_LABEL] for name, each in labels.items()}
    return Data(
        splits={
            "train": replace(train, bank=bank),
            "train_plain": replace(plain, bank=bank),
            **{name: replace(split, bank=bank) for name, split in others.items()},
        },
        sizes={"num_images": len(train), "size_px": size_px},
        class_names=class_names,
        class_ids=range(len(class_names)),
        class_counts={
            name: torch.bincount(each, minlength=len(class_names)).tolist()
            for name, each in counts.items()
        },
        to_pixels=functools.partial(to_pixels, normalisation=normalisation),
        unreadable=list(unreadable),
        read_counts=read_counts or {},
    )
