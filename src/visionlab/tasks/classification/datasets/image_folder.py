"""Folders of images, one folder per class."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from visionlab.core.checks import check_px
from visionlab.files.data_paths import root_folder
from visionlab.images.decoding import find_readable
from visionlab.images.holdout import Holdout
from visionlab.images.plain import PlainImages
from visionlab.task import Data
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.datasets.class_folders import (
    class_folders,
    find_parts,
    find_samples,
    readable_names,
)
from visionlab.tasks.classification.plain import plain_images
from visionlab.tasks.classification.records import LabelledFiles
from visionlab.tasks.classification.splits import ClassificationDataset, in_files

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ImageFolder(ClassificationDataset):
    """`root/{train,val,test}/<class>/<image>`, or `root/<class>/<image>` and shares of it.

    Folders may also be named `training`, `valid`, `validation` or `testing`. Hidden files and
    folders are left out.

    Attributes:
        root: the folder. Without a `train` folder in it, its own folders are the classes.
        class_names: a file below `root` with readable names of the class folders, a line each, or
            None to take the names of the folders.
        size_px: side of the square inputs, which show the centre of an image.
        num_workers: decoding processes for each part.
        skip_unreadable: read every file once at the start, and leave out and list those that cannot
            be decoded; otherwise the first such file ends the run.
        val: the share held out for validation, if there is no `val` folder.
        test: the share held out for testing, if there is neither a `val` nor a `test` folder; drawn
            first.
    """

    root: str
    class_names: str | None
    size_px: int
    num_workers: int
    skip_unreadable: bool
    test: Holdout

    def __post_init__(self) -> None:
        check_px(self, 1, "size_px")

    def __call__(self, *, augmentation: Augment, seed: int, device: torch.device) -> Data:
        """Return the splits; a key is a hash of the path below `root`, so new files change none.

        Raises:
            FileNotFoundError: the folder, its classes or their images are missing.
            ValueError: a folder may be a class or a part, a class is missing in `train`, or no
                image is readable.
        """
        root = root_folder(self.root)
        folders = find_parts(root)
        class_names = class_folders(folders["train"])
        parts = self._with_shares(find_samples(root, folders, class_names))
        if self.class_names is not None:
            class_names = readable_names(root / Path(self.class_names).expanduser(), class_names)
        unreadable = []
        if self.skip_unreadable:
            for name, samples in parts.items():
                rows, dropped = find_readable(samples.sources, num_workers=self.num_workers)
                parts[name] = samples.take(rows)
                unreadable += dropped
        if not len(parts["train"]):
            count = len(unreadable)
            raise ValueError(f"dataset.root must hold readable images, got {count} unreadable ones")
        return in_files(
            {name: samples for name, samples in parts.items() if len(samples)},
            class_names=class_names,
            size_px=self.size_px,
            num_workers=self.num_workers,
            unreadable=unreadable,
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )

    def plain_images(
        self, *, class_names: Sequence[str], class_ids: Sequence[int], device: torch.device
    ) -> PlainImages:
        """Return how any images are shown to a model that was trained on this data set."""
        return plain_images(self, size_px=self.size_px, class_names=class_names, device=device)

    def _with_shares(self, found: dict[str, LabelledFiles]) -> dict[str, LabelledFiles]:
        """Return the parts, with shares of `train` for those that have no folder."""
        parts = dict(found)
        shares = [("val", self.val)] if "val" not in found else []
        if not {"val", "test"} & set(found):
            shares.insert(0, ("test", self.test))
        for name, holdout in shares:
            train = parts["train"]
            # in the order on disk, so that evaluation reads files in order
            kept, held_out = (rows.sort().values.tolist() for rows in holdout.rows(len(train)))
            parts["train"], parts[name] = train.take(kept), train.take(held_out)
            if holdout.split:
                counts = len(held_out), len(train)
                _log.info("%s is a share of train, %d of %d images", name, *counts)
        if "test" not in parts:
            _log.info("no test split: there is a folder for val, and none for test")
        return parts
