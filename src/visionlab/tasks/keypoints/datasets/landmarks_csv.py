"""The thousand-landmarks contest's files: TAB-separated points, and a list of what is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from visionlab.images.parts import root_folder
from visionlab.task import Data
from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.datasets.listed_images import listed_part, with_val
from visionlab.tasks.keypoints.datasets.name_holdout import NameHoldout
from visionlab.tasks.keypoints.datasets.points_table import PointsTable, read_points
from visionlab.tasks.keypoints.datasets.requested_points import read_asked
from visionlab.tasks.keypoints.splits import Part, from_points


@dataclass(frozen=True, kw_only=True)
class LandmarksCsv:
    """Settings of the contest's data (made.thousand-landmarks; any number of points will do).

    `root/train/landmarks.csv` and `root/train/images` hold what is learnt from,
    `root/test/test_points.csv` and `root/test/images` what is handed in.

    Attributes:
        root: the folder.
        test: whether there is a test part; its points are not known.
        val: the part of the training images that validates.
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
    test: bool
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
            ValueError: a table is wrong.
        """
        root = root_folder(self.root)
        path = root / "train" / "landmarks.csv"
        table = read_points(path, delimiter="\t")
        parts = {
            "train": listed_part(
                table,
                source=root / "train" / "images",
                named_in=path,
                prefix="train",
                asked=None,
                may_skip=self.skip_unreadable,
            )
        }
        if self.test:
            parts["test"] = self._test(root / "test", table)
        return from_points(
            with_val(parts, val=self.val),
            point_names=table.point_names,
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

    def _test(self, folder: Path, table: PointsTable) -> Part:
        """Return the images to be handed in: every one must be there, and none is skipped."""
        num_points = len(table.point_names)
        path = folder / "test_points.csv"
        names, asked = read_asked(path, num_points=num_points)
        unknown = np.broadcast_to(np.float32(np.nan), (len(names), num_points, 2))
        return listed_part(
            PointsTable(names=names, points=unknown, point_names=table.point_names),
            source=folder / "images",
            named_in=path,
            prefix="test",
            asked=asked,
            may_skip=False,
        )
