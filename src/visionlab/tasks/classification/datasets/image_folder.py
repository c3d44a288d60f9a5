"""Folders of images, one folder a class."""

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

from visionlab.images.holdout import Holdout
from visionlab.images.normalise import normalisation_tensor, to_pixels
from visionlab.images.paths import path_key
from visionlab.task import Data
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.file_split import FileSplit, find_unreadable

_Samples = list[tuple[str, int]]  # (path, label)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """`root/{train,val,test}/<class>/<image>`, or `root/<class>/<image>` and shares of it.

    Attributes:
        root: the folder. Without a `train` folder in it, its own folders are the classes.
        size_px: images are resized to this short side and cropped to the centre square.
        num_workers: decoding processes for each split.
        skip_unreadable: read every file once at the start, and leave out and list those that cannot
            be decoded; otherwise the first such file ends the run.
        val: the share held out for validation, where there is no `val` folder.
        test: the share held out for testing, where there is no `test` folder; drawn first.
        mean: one value a channel, for pixels in [0, 1].
        std: likewise.
    """

    task: ClassVar[str] = "classification"
    root: str
    size_px: int
    num_workers: int
    skip_unreadable: bool
    val: Holdout
    test: Holdout
    mean: Sequence[float]
    std: Sequence[float]

    def __post_init__(self) -> None:
        if self.size_px < 1:
            raise ValueError(f"size_px must be >= 1, got {self.size_px}")
        if self.num_workers < 0:
            raise ValueError(f"num_workers must be >= 0, got {self.num_workers}")

    def __call__(self, *, augmentation: Augment, seed: int, device: torch.device) -> Data:
        """Return the splits; a key is a hash of the path below `root`, so new files change none.

        Raises:
            FileNotFoundError: the folder, its classes or their images are missing.
            ValueError: `val` or `test` has a class that `train` has not.
        """
        root = Path(self.root).expanduser()
        train_root = root / "train" if (root / "train").is_dir() else root
        class_names = _class_names(train_root)
        samples = self._divide(root, train_root, class_names)
        unreadable = self._drop_unreadable(samples) if self.skip_unreadable else []
        normalisation = normalisation_tensor(self.mean, self.std, num_channels=3).to(device)

        def split(files: _Samples, augmentation: Augment | None) -> FileSplit:
            return FileSplit(
                paths=[Path(path) for path, _ in files],
                labels=torch.tensor([label for _, label in files]),
                keys=torch.tensor([path_key(Path(path).relative_to(root)) for path, _ in files]),
                size_px=self.size_px,
                normalisation=normalisation,
                augmentation=augmentation,
                seed=None if augmentation is None else seed,
                num_workers=self.num_workers,
            )

        splits = {"train": split(samples["train"], augmentation)}
        splits["train_plain"] = split(samples["train"], None)
        splits |= {
            name: split(samples[name], None) for name in ("val", "test") if samples.get(name)
        }
        return Data(
            splits=splits,
            sizes={"num_classes": len(class_names)},
            class_names=class_names,
            class_ids=range(len(class_names)),
            to_pixels=functools.partial(to_pixels, normalisation=normalisation),
            unreadable=unreadable,
        )

    def _drop_unreadable(self, samples: dict[str, _Samples]) -> list[str]:
        """Take the files that cannot be decoded out of every split, and return their paths."""
        dropped = []
        for name, files in samples.items():
            paths = [Path(path) for path, _ in files]
            rows = set(find_unreadable(paths, num_workers=self.num_workers))
            samples[name] = [each for row, each in enumerate(files) if row not in rows]
            dropped += [path for row, (path, _) in enumerate(files) if row in rows]
        for path in dropped:
            _log.warning("skipped %s: it cannot be read as an image", path)
        if not samples["train"]:
            raise ValueError(f"dataset.root must hold images, got {len(dropped)} unreadable ones")
        return dropped

    def _divide(
        self, root: Path, train_root: Path, class_names: Sequence[str]
    ) -> dict[str, _Samples]:
        """Return the samples of each split."""
        parts = {"train": _find_samples(train_root, class_names)}
        for name, holdout in (("test", self.test), ("val", self.val)):
            if train_root != root and (root / name).is_dir():
                parts[name] = _find_samples(root / name, class_names)
            else:
                kept, held_out = holdout.rows(len(parts["train"]))
                parts[name] = _take(parts["train"], held_out)
                parts["train"] = _take(parts["train"], kept)
        return parts


def _class_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise FileNotFoundError(f"dataset.root must be a folder of images, looked for {folder}")
    try:
        return [name for name in find_classes(folder)[0] if not name.startswith(".")]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"dataset.root must hold one folder of images a class, found none in {folder}"
        ) from error


def _find_samples(folder: Path, class_names: Sequence[str]) -> _Samples:
    unknown = sorted(set(_class_names(folder)) - set(class_names))
    if unknown:
        raise ValueError(f"{folder} must hold classes of train only, got {', '.join(unknown)}")
    labels = {name: label for label, name in enumerate(class_names)}
    samples = make_dataset(folder, labels, extensions=IMG_EXTENSIONS, allow_empty=True)
    if not samples:
        raise FileNotFoundError(f"dataset.root must hold images, found none in {folder}")
    return list(samples)


def _take(samples: _Samples, rows: Tensor) -> _Samples:
    """Return some samples in the order on disk, so that evaluation reads files in order."""
    return [samples[row] for row in rows.sort().values.tolist()]
