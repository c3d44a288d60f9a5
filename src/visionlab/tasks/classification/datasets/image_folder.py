"""Folders of images, one folder per class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from visionlab.core.checks import check_px
from visionlab.images.decoding import find_readable
from visionlab.images.holdout import Holdout
from visionlab.images.paths import path_key
from visionlab.task import Data
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.records import LabelledFiles
from visionlab.tasks.classification.splits import ClassificationDataset, in_files


@dataclass(frozen=True, kw_only=True)
class ImageFolder(ClassificationDataset):
    """`root/{train,val,test}/<class>/<image>`, or `root/<class>/<image>` and shares of it.

    Attributes:
        root: the folder. Without a `train` folder in it, its own folders are the classes.
        size_px: side of the square inputs, which show the centre of an image.
        num_workers: decoding processes for each part.
        skip_unreadable: read every file once at the start, and leave out and list those that cannot
            be decoded; otherwise the first such file ends the run.
        val: the share held out for validation, if there is no `val` folder.
        test: the share held out for testing, if there is no `test` folder; drawn first.
    """

    root: str
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
            ValueError: `val` or `test` has a class that `train` does not have.
        """
        root = Path(self.root).expanduser()
        train_root = root / "train" if (root / "train").is_dir() else root
        class_names = _class_names(train_root)
        parts = self._divide(root, train_root, class_names)
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

    def _divide(
        self, root: Path, train_root: Path, class_names: Sequence[str]
    ) -> dict[str, LabelledFiles]:
        parts = {"train": _find_samples(root, train_root, class_names)}
        for name, holdout in (("test", self.test), ("val", self.val)):
            if train_root != root and (root / name).is_dir():
                parts[name] = _find_samples(root, root / name, class_names)
            else:
                train = parts["train"]
                # in the order on disk, so that evaluation reads files in order
                kept, held_out = (rows.sort().values for rows in holdout.rows(len(train)))
                parts["train"] = train.take(kept.tolist())
                parts[name] = train.take(held_out.tolist())
        return parts


def _class_names(folder: Path) -> list[str]:
    from torchvision.datasets.folder import find_classes

    if not folder.is_dir():
        raise FileNotFoundError(f"dataset.root must be a folder of images, looked for {folder}")
    try:
        return [name for name in find_classes(folder)[0] if not name.startswith(".")]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"dataset.root must hold one folder of images a class, found none in {folder}"
        ) from error


def _find_samples(root: Path, folder: Path, class_names: Sequence[str]) -> LabelledFiles:
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    unknown = sorted(set(_class_names(folder)) - set(class_names))
    if unknown:
        raise ValueError(f"{folder} must hold classes of train only, got {', '.join(unknown)}")
    numbers = {name: label for label, name in enumerate(class_names)}
    samples = make_dataset(folder, numbers, extensions=IMG_EXTENSIONS, allow_empty=True)
    if not samples:
        raise FileNotFoundError(f"dataset.root must hold images, found none in {folder}")
    paths = [Path(path) for path, _ in samples]
    return LabelledFiles(
        sources=paths,
        labels=torch.tensor([label for _, label in samples]),
        keys=torch.tensor([path_key(path.relative_to(root)) for path in paths]),
    )
