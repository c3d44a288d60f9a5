"""Files of the thousand-landmarks contest: TAB-separated points, and a list of requested points."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from visionlab.images.paths import root_folder
from visionlab.task import Data
from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.datasets.listed_images import listed_samples, with_val
from visionlab.tasks.keypoints.datasets.points_cache import PointsTable
from visionlab.tasks.keypoints.datasets.points_table import read_points
from visionlab.tasks.keypoints.datasets.requested_points import read_requested
from visionlab.tasks.keypoints.records import KeypointSamples
from visionlab.tasks.keypoints.splits import KeypointFiles, from_points


@dataclass(frozen=True, kw_only=True)
class LandmarksCsv(KeypointFiles):
    """The contest's data (made.thousand-landmarks), with any number of points.

    `root/train/landmarks.csv` and `root/train/images` are the training part,
    `root/test/test_points.csv` and `root/test/images` the test part, without points.

    Attributes:
        test: whether there is a test part.
        root, val, and others: see `KeypointFiles`.
    """

    test: bool

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
            "train": listed_samples(
                table,
                source=root / "train" / "images",
                named_in=path,
                prefix="train",
                requested=None,
                may_skip=self.skip_unreadable,
            )
        }
        if self.test:
            parts["test"] = self._test(root / "test", table)
        return from_points(
            with_val(parts, val=self.val),
            point_names=table.point_names,
            dataset=self,
            reading=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )

    def _test(self, folder: Path, table: PointsTable) -> KeypointSamples:
        """Return the images of a submission; all must exist, and none is skipped."""
        num_points = len(table.point_names)
        path = folder / "test_points.csv"
        names, requested = read_requested(path, num_points=num_points)
        unknown = np.broadcast_to(np.float32(np.nan), (len(names), num_points, 2))
        return listed_samples(
            PointsTable(names=names, points=unknown, point_names=table.point_names),
            source=folder / "images",
            named_in=path,
            prefix="test",
            requested=requested,
            may_skip=False,
        )
