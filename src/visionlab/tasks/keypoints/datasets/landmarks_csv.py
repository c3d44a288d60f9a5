"""Files of the thousand-landmarks contest: TAB-separated points, and a list of requested points."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from visionlab.files.data_paths import root_folder
from visionlab.task import Data
from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.datasets.listed_images import (
    count_points,
    listed_samples,
    with_val,
)
from visionlab.tasks.keypoints.datasets.points_table import PointsTable, read_points
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
    """

    test: bool

    def __call__(self, *, augmentation: PointAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; a key is a hash of part and name, so new images change none."""
        root = root_folder(self.root)
        path = root / "train" / "landmarks.csv"
        table = read_points(path, delimiter="\t")
        train = listed_samples(
            table, path, path.with_name("images"), part="train", may_skip=self.skip_unreadable
        )
        parts = {"train": train}
        if self.test:
            parts["test"] = _test_samples(root / "test", point_names=table.point_names)
        return from_points(
            with_val(parts, val=self.val),
            point_names=table.point_names,
            dataset=self,
            reading=self,
            read_counts={str(path): count_points(train)},
            augmentation=augmentation,
            seed=seed,
            device=device,
        )


def _test_samples(folder: Path, *, point_names: Sequence[str]) -> KeypointSamples:
    """Return the images of a submission; all must exist, and none is skipped."""
    path = folder / "test_points.csv"
    names, requested = read_requested(path, num_points=len(point_names))
    unknown = np.broadcast_to(np.float32(np.nan), (len(names), len(point_names), 2))
    table = PointsTable(names=names, points=unknown, point_names=point_names)
    samples = listed_samples(table, path, folder / "images", part="test", may_skip=False)
    return replace(samples, requested=requested)
