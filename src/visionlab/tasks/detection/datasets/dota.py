"""DOTA: a text file per image with four corners, class and difficulty in each line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from visionlab.files.documents import read_text
from visionlab.images.parts import configured, part_paths
from visionlab.images.paths import SUFFIXES, by_stem, name_and_key
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.datasets.annotations import Wording, from_raw
from visionlab.tasks.detection.datasets.raw_boxes import RawBox, RawImage, oriented_box
from visionlab.tasks.detection.splits import DetectionFiles

_NUM_FIELDS = 9  # eight numbers and a class; shorter lines are headers


@dataclass(frozen=True, kw_only=True)
class Dota(DetectionFiles):
    """`root/<labels>/<name>.txt` and `root/<images>/<name>.png`.

    A line is x1 y1 x2 y2 x3 y3 x4 y4 class difficult; 1 marks what evaluation ignores, and may be
    absent. The classes are the names in train, sorted; their ids count from 1. A key is a hash of
    the image's path below `root`.

    Attributes:
        labels: the folder of the text files of each split below `root`, null for none.
        images: the folder of each split's images below `root`.
    """

    labels: Mapping[str, str | None]
    images: Mapping[str, str | None]

    def __post_init__(self) -> None:
        for split in configured(self.labels, setting="labels"):
            if self.images.get(split) is None:
                raise ValueError(f"dataset.images.{split} must be given, got null")

    def __call__(self, *, augmentation: BoxAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; no split may have a class that train does not have."""
        root, paths = part_paths(self.root, self.labels, setting="labels")
        used = {split: self.images[split] for split in paths}
        _, folders = part_paths(self.root, used, setting="images")
        parts = {split: list(read_dota(root, paths[split], folders[split])) for split in paths}
        boxes = [box for image in parts["train"] for box in image.boxes or ()]
        names = sorted({str(box.category) for box in boxes})
        return from_raw(
            parts,
            paths,
            classes={name: number for number, name in enumerate(names, start=1)},
            wording=Wording(
                known="a class of train", noun="line", mistake="are they of images of another size?"
            ),
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )


def read_dota(root: Path, labels: Path, images: Path) -> Iterator[RawImage]:
    """Yield the images that have a text file, with their boxes; a box's number is its line.

    Raises:
        ValueError: a line is malformed.
    """
    found = by_stem(images, SUFFIXES)
    for stem, name in by_stem(labels, [".txt"]).items():
        path = images / found.get(stem, f"{stem}.png")
        below, key = name_and_key(path, root)
        source = labels / name
        yield RawImage(key, below, path, None, source, list(_boxes(source)))


def _boxes(path: Path) -> Iterator[RawBox]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.split()
        if len(fields) >= _NUM_FIELDS:
            yield _box(number, fields, f"{path}: line {number}")


def _box(number: int, fields: Sequence[str], where: str) -> RawBox:
    *corners, category = fields[:_NUM_FIELDS]
    difficult = fields[_NUM_FIELDS:] or ["0"]
    if len(difficult) > 1 or difficult[0] not in ("0", "1"):
        raise ValueError(f"{where} must end in 0 or 1, difficult or not, got {difficult[-1]!r:.60}")
    try:
        polygon = [float(field) for field in corners]
    except ValueError as error:
        got = " ".join(corners)
        raise ValueError(f"{where} must start with eight numbers, got {got!r:.60}") from error
    return oriented_box(number, category, polygon, is_difficult=difficult[0] == "1")
