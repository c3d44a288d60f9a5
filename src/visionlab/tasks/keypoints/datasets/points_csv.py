"""Images with points in comma-separated tables: a file name, then x0, y0, x1, y1, ..."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from visionlab.files.data_paths import existing
from visionlab.images.parts import part_paths
from visionlab.task import Data
from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.datasets.listed_images import (
    count_points,
    listed_samples,
    with_val,
)
from visionlab.tasks.keypoints.datasets.points_table import read_points
from visionlab.tasks.keypoints.records import KeypointSamples
from visionlab.tasks.keypoints.splits import KeypointFiles, from_points


@dataclass(frozen=True, kw_only=True)
class PointsCsv(KeypointFiles):
    """Images with points in pixels of the original images.

    Attributes:
        tables: the table of each part below `root`, null for none.
        images: likewise the folder, or uncompressed tar file, with the images of each part.
        val: the part of `train` held out for validation, if `tables.val` is null.
    """

    tables: Mapping[str, str | None]
    images: Mapping[str, str | None]

    def __call__(self, *, augmentation: PointAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; a key is a hash of part and name, so new images change none.

        The tables must have the same points.
        """
        root, paths = part_paths(self.root, self.tables, setting="tables")
        parts: dict[str, KeypointSamples] = {}
        point_names: Sequence[str] = []
        for split, path in paths.items():
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
            source = existing(root / images, setting="images", split=split)
            parts[split] = listed_samples(
                table, path, source, part=split, may_skip=self.skip_unreadable
            )
        return from_points(
            with_val(parts, val=self.val),
            point_names=point_names,
            dataset=self,
            reading=self,
            read_counts={str(path): count_points(parts[split]) for split, path in paths.items()},
            augmentation=augmentation,
            seed=seed,
            device=device,
        )


def _named(point_names: Sequence[str]) -> str:
    return f"{len(point_names)} ({point_names[0]} to {point_names[-1]})"
