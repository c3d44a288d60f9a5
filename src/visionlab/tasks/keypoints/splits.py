"""Keypoint data: images with points to splits."""

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.core import geometry
from visionlab.images.decoding import Images, KeptImages, Source
from visionlab.images.normalise import normalisation_tensor, to_pixels
from visionlab.task import Data
from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.point_split import Pointed, PointSplit, Reader, reduction, square_fit

_NUM_FOR_MEAN = 256
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Part:
    """The images of one part of a data set, and their points."""

    sources: Sequence[Source]
    samples: Pointed

    def take(self, rows: Sequence[int]) -> "Part":
        """Return some of the images."""
        return Part(sources=[self.sources[row] for row in rows], samples=self.samples.take(rows))


def from_points(
    parts: Mapping[str, Part],
    *,
    point_names: Sequence[str],
    mirror: Sequence[int] | None,
    size_px: int,
    mean: Sequence[float],
    std: Sequence[float],
    num_workers: int,
    in_memory: bool,
    skip_unreadable: bool,
    augmentation: PointAugment,
    seed: int,
    device: torch.device,
) -> Data:
    """Return the splits of images with points.

    Args:
        parts: the images of `train` and, where there are some, `val` and `test`.
        point_names: one a point.
        mirror: the number of the point that each one becomes in a mirror, or None.
        size_px: side of the square inputs.
        mean: one value a channel, for pixels in [0, 1].
        std: likewise.
        num_workers: decoding processes for each split.
        in_memory: whether images are decoded once and kept.
        skip_unreadable: whether images that cannot be read are left out, which takes reading all of
            them once; of a submission none may be left out.
        augmentation: what is done to training images.
        seed: of order and augmentation.
        device: where batches live.

    Raises:
        ValueError: a number is out of range, `mirror` is no permutation that undoes itself or is
            missing where pictures are mirrored, or a part is empty.
    """
    order = _mirror_order(mirror, num_points=len(point_names))
    if order is None and augmentation.mirror_prob:
        raise ValueError(
            f"augment.mirror_prob must be 0 without dataset.mirror, got {augmentation.mirror_prob}"
        )
    normalisation = normalisation_tensor(mean, std, num_channels=3).to(device)
    if size_px < 1:
        raise ValueError(f"dataset.size_px must be >= 1, got {size_px}")
    if num_workers < 0:
        raise ValueError(f"dataset.num_workers must be >= 0, got {num_workers}")
    _check_blur(augmentation, size_px=size_px)
    unreadable: list[str] = []
    splits: dict[str, PointSplit] = {}
    for name, part in parts.items():
        images = Images(part.sources, factor=reduction(size_px), num_workers=num_workers)
        if skip_unreadable and (bad := _rows_to_skip(part, images)):
            unreadable += [str(part.sources[row]) for row in bad]
            part = part.take(sorted(set(range(len(part.samples))) - set(bad)))
            images = Images(part.sources, factor=reduction(size_px), num_workers=num_workers)
        if not len(part.samples):
            raise ValueError(f"dataset must have images to {name} with, got 0")
        reader: Reader = images
        if in_memory:
            reader = KeptImages(images, num_images=len(part.samples))
        make = functools.partial(
            PointSplit,
            samples=part.samples,
            images=reader,
            size_px=size_px,
            normalisation=normalisation,
            mirror=order,
        )
        splits[name] = make(augmentation=None, seed=None)
        if name == "train":
            splits["train_plain"] = splits[name]
            splits["train"] = make(augmentation=augmentation, seed=seed)
            mean_points = _mean_points(reader, part.samples, size_px=size_px)
    for path in unreadable:
        _log.warning("skipped %s: it is missing or no image", path)
    return Data(
        splits=splits,
        sizes={
            "num_points": len(point_names),
            "size_px": size_px,
            "mean_points": mean_points.tolist(),
        },
        class_names=point_names,
        class_ids=range(len(point_names)),
        to_pixels=functools.partial(to_pixels, normalisation=normalisation),
        unreadable=unreadable,
    )


def _rows_to_skip(part: Part, images: Images) -> list[int]:
    bad = images.unreadable()
    if bad and part.samples.asked is not None:
        raise ValueError(
            f"{part.sources[bad[0]]} must be an image, since a submission is whole, "
            "got a file that cannot be decoded"
        )
    return bad


def _check_blur(augmentation: PointAugment, *, size_px: int) -> None:
    largest = max(augmentation.blur_px, default=1)
    if augmentation.blur_prob and largest > 2 * size_px - 1:
        raise ValueError(
            f"augment.blur_px must be at most {2 * size_px - 1} for inputs of {size_px} px, "
            f"got {largest}"
        )


def _mirror_order(mirror: Sequence[int] | None, *, num_points: int) -> Tensor | None:
    if mirror is None:
        return None
    order = torch.tensor(list(mirror))
    rows = torch.arange(num_points)
    if sorted(mirror) != rows.tolist() or not torch.equal(order[order], rows):
        raise ValueError(
            f"dataset.mirror must be a permutation of {num_points} points that undoes itself, "
            f"got {list(mirror)}"
        )
    return order


def _mean_points(images: Reader, samples: Pointed, *, size_px: int) -> Tensor:
    """Return the mean of each point in input pixels, (K, 2), over some hundred images."""
    rows = torch.linspace(0, len(samples) - 1, min(len(samples), _NUM_FOR_MEAN)).long()
    seen = []
    for stack in images.batches(torch.split(rows, 64)):
        points = torch.from_numpy(samples.points[stack.rows.numpy()])
        fit = square_fit(stack.sizes, size_px=size_px)
        seen.append(geometry.transform_points(points.double(), fit))
    # a point that is known nowhere starts in the middle
    return torch.cat(seen).nanmean(dim=0).nan_to_num(nan=size_px / 2)
