"""Splits of images with points: one matrix per image moves pixels and points."""

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visionlab.core import geometry
from visionlab.core.checks import LARGEST_PX
from visionlab.images.batching import plain_batches
from visionlab.images.decoding import Images, KeptImages, Stack, find_readable
from visionlab.images.normalise import ImageDataset, normalisation_tensor, to_pixels
from visionlab.images.plain import PlainImages
from visionlab.images.rendering import Change, render_square, square_fit, square_images, unchanged
from visionlab.images.splits import ImageSplit, Training
from visionlab.images.views import View
from visionlab.task import Batch, Data
from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.datasets.name_holdout import NameHoldout
from visionlab.tasks.keypoints.records import KeypointSamples, PointTargets

_MAX_CPU_PX = 160  # side from which training on a CPU is advised against
_log = logging.getLogger(__name__)
_MANY = 0.1  # share of points outside of their images that suggests a mistake
_NUM_FOR_MEAN = 256  # images from which the mean points are computed


@dataclass(frozen=True, kw_only=True)
class KeypointDataset(ImageDataset):
    """Settings of every keypoint data set.

    Attributes:
        size_px: side of the square inputs, which show the centre of an image.
        mirror: the number that each point has in a mirrored image, or None.
        eyes: the points around the left and around the right eye, for `task.metric`, or None.
    """

    size_px: int
    mirror: Sequence[int] | None
    eyes: Sequence[Sequence[int]] | None

    def plain_images(
        self, *, class_names: Sequence[str], class_ids: Sequence[int], device: torch.device
    ) -> PlainImages:
        """Return how any images are shown to a model that was trained on this data set."""
        from visionlab.tasks.keypoints.plain import plain_images  # which imports this module

        return plain_images(self, point_names=class_names, device=device)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Reading of image files.

    Attributes:
        num_workers: decoding processes for each part.
        in_memory: decode images once and keep them.
        skip_unreadable: read every image once at the start, and leave out those that are missing or
            damaged; a submission must be complete.
    """

    num_workers: int
    in_memory: bool
    skip_unreadable: bool


@dataclass(frozen=True, kw_only=True)
class KeypointFiles(KeypointDataset, Reading):
    """Settings of every keypoint data set in files.

    Reading raises FileNotFoundError if a file or folder is missing, ValueError if one is malformed.

    Attributes:
        root: the folder of the data set.
        val: the part of the training images held out for validation, if there is no `val` part.
    """

    root: str
    val: NameHoldout


Reader = Images | KeptImages


def from_points(
    parts: Mapping[str, KeypointSamples],
    *,
    point_names: Sequence[str],
    dataset: KeypointDataset,
    reading: Reading,
    read_counts: Mapping[str, Mapping[str, int]],
    augmentation: PointAugment,
    seed: int,
    device: torch.device,
) -> Data:
    """Return the splits of images with points: `train` and, if there are any, `val` and `test`.

    There is one name per point. `read_counts` are those of `Data`. The seed is that of order and
    augmentation.

    Raises:
        ValueError: a number is out of range, `mirror` is not its own inverse or is missing though
            images are mirrored, or a part is empty.
    """
    mirror = mirror_order(dataset.mirror, num_points=len(point_names))
    if mirror is None and augmentation.mirror_prob:
        raise ValueError(
            f"augment.mirror_prob must be 0 without dataset.mirror, got {augmentation.mirror_prob}"
        )
    normalisation = normalisation_tensor(dataset, num_channels=3).to(device)
    size_px = dataset.size_px
    if not 1 <= size_px <= LARGEST_PX:
        rule = ">= 1" if size_px < 1 else f"<= {LARGEST_PX}"
        raise ValueError(f"dataset.size_px must be {rule}, got {size_px}")
    _check_blur(augmentation, size_px=size_px)
    if device.type == "cpu" and size_px > _MAX_CPU_PX:
        _log.info(
            "inputs of %d px take long on a CPU; for small data try model=keypoints_small "
            "dataset.size_px=64 hparams.epochs=60",
            size_px,
        )
    make = functools.partial(
        point_split, size_px=size_px, normalisation=normalisation, mirror=mirror
    )
    unreadable: list[str] = []
    splits: dict[str, ImageSplit[Stack]] = {}
    for name, samples in parts.items():
        if reading.skip_unreadable:
            rows, dropped = find_readable(samples.sources, num_workers=reading.num_workers)
            if dropped and samples.requested is not None:
                raise ValueError(
                    f"{dropped[0]} must be an image because a submission must be complete, "
                    "got a file that cannot be decoded"
                )
            samples = samples.take(rows)
            unreadable += dropped
        if not len(samples):
            raise ValueError(f"dataset must have images in its part {name}, got none")
        if name == "train" and not _has_points(samples):
            raise ValueError(
                f"dataset must have known points in its part train, got none in {len(samples)} "
                "images"
            )
        decoder = square_images(samples.sources, size_px=size_px, num_workers=reading.num_workers)
        images = KeptImages(decoder, num_images=len(samples)) if reading.in_memory else decoder
        splits[name] = make(samples, images, training=None)
        if name == "train":
            splits["train_plain"] = splits[name]
            training = Training(augmentation=augmentation, seed=seed)
            splits["train"] = make(samples, images, training=training)
            mean_points = _mean_points(images, samples, size_px=size_px)
    return Data(
        splits=splits,
        sizes={
            "num_points": len(point_names),
            "size_px": size_px,
            "mean_points": mean_points.tolist(),
        },
        class_names=point_names,
        class_ids=range(len(point_names)),
        class_counts={},
        to_pixels=functools.partial(to_pixels, normalisation=normalisation),
        unreadable=unreadable,
        read_counts=read_counts,
    )


def point_split(
    samples: KeypointSamples,
    images: Reader,
    *,
    size_px: int,
    normalisation: Tensor,
    mirror: Tensor | None,
    training: Training[PointAugment] | None,
) -> ImageSplit[Stack]:
    """Return images with points as a split.

    The centre square of an image and all augmentation are one matrix and one bilinear sampling; an
    image at least twice as large is first reduced by an integer factor. Outside of the image,
    inputs are 0, the mean colour; points there are kept.

    `normalisation` is (2, 3) float32, mean and standard deviation, on the training device; `mirror`
    is that of `PointTargets`.
    """

    def batch(stack: Stack, change: Change) -> Batch:
        device = normalisation.device
        inputs, matrices = render_square(
            stack, change, size_px=size_px, normalisation=normalisation
        )
        original = torch.from_numpy(samples.points[stack.rows.numpy()])
        return Batch(
            inputs,
            _targets(original, matrices, mirror=mirror, device=device),
            samples.keys[stack.rows].to(device),
            matrices.float().to(device),
        )

    def assemble(stack: Stack, epoch: int) -> Batch:
        if training is None:
            return batch(stack, unchanged(len(stack.rows)))
        keys = samples.keys[stack.rows]
        change = training.augmentation(keys, size_px=size_px, seed=training.seed, epoch=epoch)
        return batch(stack, change)

    def show(stack: Stack, view: View) -> Batch:
        if view.mirror and mirror is None:
            raise ValueError("views must not mirror points without dataset.mirror, got mirror=true")
        return batch(stack, view.change(len(stack.rows), size=(size_px, size_px)))

    seed = training.seed if training else None
    return ImageSplit(
        samples=samples,
        order=functools.partial(plain_batches, len(samples), seed=seed),
        read=images.batches,
        assemble=assemble,
        show=show,
    )


def _check_blur(augmentation: PointAugment, *, size_px: int) -> None:
    largest = max(augmentation.blur_px, default=1)
    if augmentation.blur_prob and largest > 2 * size_px - 1:
        raise ValueError(
            f"augment.blur_px must be at most {2 * size_px - 1} for inputs of {size_px} px, "
            f"got {largest}"
        )


def mirror_order(mirror: Sequence[int] | None, *, num_points: int) -> Tensor | None:
    """Return `KeypointDataset.mirror` as (K,) int64, checked."""
    if mirror is None:
        return None
    order = torch.tensor(list(mirror))
    rows = torch.arange(num_points)
    if sorted(mirror) != rows.tolist() or not torch.equal(order[order], rows):
        raise ValueError(
            f"dataset.mirror must be a permutation of {num_points} points that is its own inverse, "
            f"got {list(mirror)}"
        )
    return order


def _has_points(samples: KeypointSamples) -> bool:
    starts = range(0, len(samples), 4096)  # the points may be larger than memory
    return any(np.isfinite(samples.points[start : start + 4096]).any() for start in starts)


def _mean_points(images: Reader, samples: KeypointSamples, *, size_px: int) -> Tensor:
    """Return the mean of each point over some images, (K, 2) in input pixels.

    Warns if many points lie outside of their images.
    """
    rows = torch.linspace(0, len(samples) - 1, min(len(samples), _NUM_FOR_MEAN)).long()
    moved, num_outside, num_known = [], 0, 0
    for stack in images.batches(torch.split(rows, 64)):
        points = torch.from_numpy(samples.points[stack.rows.numpy()])
        is_outside = ((points < 0) | (points > stack.sizes[:, None])).any(dim=2)
        num_outside += int(is_outside.sum())
        num_known += int(points.isfinite().all(dim=2).sum())
        fit = square_fit(stack.sizes, size_px=size_px)
        moved.append(geometry.transform_points(points.double(), fit))
    if num_outside > _MANY * num_known:
        message = "%d of %d points of %d images of train lie outside of their images%s"
        hint = "; are they of images of another size, or y, x instead of x, y?"
        _log.warning(message, num_outside, num_known, len(rows), hint)
    # a point that is never known starts at the centre
    return torch.cat(moved).nanmean(dim=0).nan_to_num(nan=size_px / 2)


def _targets(
    original: Tensor, matrices: Tensor, *, mirror: Tensor | None, device: torch.device
) -> PointTargets:
    points = geometry.transform_points(original, matrices)
    if mirror is not None:
        is_mirrored = torch.linalg.det(matrices) < 0
        points = torch.where(is_mirrored[:, None, None], points[:, mirror], points)
    is_known = points.isfinite().all(dim=2)
    return PointTargets(
        points=torch.where(is_known[:, :, None], points, 0.0).to(device),
        is_known=is_known.to(device),
        original=original.to(device),
        mirror=None if mirror is None else mirror.to(device),
    )
