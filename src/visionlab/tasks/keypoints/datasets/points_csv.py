"""Images with points in comma-separated tables: a file name, then x0, y0, x1, y1, ..."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from visionlab.images.parts import configured, existing, root_folder
from visionlab.task import Data
from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.datasets.listed_images import listed_part, with_val
from visionlab.tasks.keypoints.datasets.name_holdout import NameHoldout
from visionlab.tasks.keypoints.datasets.points_table import read_points
from visionlab.tasks.keypoints.splits import Part, from_points


@dataclass(frozen=True, kw_only=True)
class PointsCsv:
    """Settings of images with points, in pixels of the original images.

    Attributes:
        root: the folder.
        tables: below it, of `train` and, unless null, `val` and `test`.
        images: likewise folders or uncompressed tar files with the images of each part.
        val: the part that validates where `tables.val` is null.
        size_px: side of the square inputs, which show the middle of an image.
        mirror: the number of the point that each one becomes in a mirror, or None.
        eyes: the points around the left and around the right eye, for `task.metric`, or None.
        mean: one value a channel, for pixels in [0, 1].
        std: likewise.
        num_workers: decoding processes for each split.
        in_memory: whether images are decoded once and kept.
        skip_unreadable: whether to go on without images that are missing or damaged.
    """

    task: ClassVar[str] = "keypoints"
    root: str
    tables: Mapping[str, str | None]
    images: Mapping[str, str | None]
    val: NameHoldout
    size_px: int
    mirror: Sequence[int] | None
    eyes: Sequence[Sequence[int]] | None
    mean: Sequence[float]
    std: Sequence[float]
    num_workers: int
    in_memory: bool
    skip_unreadable: bool

    def __call__(self, *, augmentation: PointAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; a key is a hash of part and name, so new images change none.

        Raises:
            FileNotFoundError: the folder, a table or an image is missing.
            ValueError: a table is wrong, or the tables have different points.
        """
        root = root_folder(self.root)
        parts: dict[str, Part] = {}
        point_names: Sequence[str] = []
        for split, name in configured(self.tables, setting="tables").items():
            path = existing(root / name, setting="tables", split=split)
            table = read_points(path, delimiter=",")
            if parts and list(table.point_names) != list(point_names):
                raise ValueError(
                    f"{path} must have the points of the training table, {_named(point_names)}, "
                    f"got {_named(table.point_names)}"
                )
            point_names = table.point_names
            images = self.images.get(split)
            if images is None:
                raise ValueError(f"dataset.images.{split} must be given with its table, got null")
            parts[split] = listed_part(
                table,
                source=existing(root / images, setting="images", split=split),
                named_in=path,
                prefix=split,
                asked=None,
                may_skip=self.skip_unreadable,
            )
        return from_points(
            with_val(parts, val=self.val),
            point_names=point_names,
            mirror=self.mirror,
            size_px=self.size_px,
            mean=self.mean,
            std=self.std,
            num_workers=self.num_workers,
            in_memory=self.in_memory,
            skip_unreadable=self.skip_unreadable,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )


def _named(point_names: Sequence[str]) -> str:
    return f"{len(point_names)} ({point_names[0]} to {point_names[-1]})"
