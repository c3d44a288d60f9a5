"""Boxes in CSV files, one line per box."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from visionlab.images.parts import configured, part_paths
from visionlab.images.paths import path_key, require_files
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.datasets.annotations import UNSIZED, RawBox, RawImage, from_raw
from visionlab.tasks.detection.splits import DetectionFiles


@dataclass(frozen=True, kw_only=True)
class BoxesCsv(DetectionFiles):
    """A CSV file per split with lines `path,x1,y1,x2,y2,class_name`, and one with `class_name,id`.

    There is no header. A path is relative to `root` or absolute. An image has a line for each box,
    or a line `path,,,,,` without boxes. A label is the rank of its id, a key is a hash of the
    image's path below `root`.

    Attributes:
        annotations: the file of each split below `root`, null for none.
        classes: the file of the classes below `root`.
    """

    annotations: Mapping[str, str | None]
    classes: str

    def __post_init__(self) -> None:
        configured(self.annotations, setting="annotations")

    def __call__(self, *, augmentation: BoxAugment, seed: int, device: torch.device) -> Data:
        """Return the splits."""
        root, paths = part_paths(self.root, self.annotations, setting="annotations")
        class_file = root / self.classes
        if not class_file.is_file():
            raise FileNotFoundError(f"dataset.classes must exist, looked for {class_file}")
        classes = read_classes(class_file)
        return from_raw(
            {split: read_boxes_csv(root, path) for split, path in paths.items()},
            paths,
            classes=classes,
            known=f"a class of {class_file}",
            noun="line",
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )


def read_classes(path: Path) -> dict[str, int]:
    """Return ids by class name, in the order of the ids.

    Raises:
        ValueError: a line is not a name and an id, or one of them is repeated.
    """
    ids: dict[str, int] = {}
    for number, fields in _lines(path):
        where = f"{path}: line {number}"
        if len(fields) != 2 or not fields[0] or not fields[1].isdecimal():
            raise ValueError(f"{where} must be class_name,id, got {','.join(fields)!r}")
        name, value = fields[0], int(fields[1])
        if name in ids or value in ids.values():
            raise ValueError(f"{where} must have a name and an id of its own, got {name},{value}")
        ids[name] = value
    if not ids:
        raise ValueError(f"{path} must name classes, got none")
    return dict(sorted(ids.items(), key=lambda item: item[1]))


def read_boxes_csv(root: Path, path: Path) -> list[RawImage]:
    """Return the images of a file, in its order; a box's number is its line.

    Raises:
        FileNotFoundError: an image is missing.
        ValueError: a line is malformed.
    """
    boxes: dict[Path, list[RawBox]] = {}
    for number, fields in _lines(path):
        where = f"{path}: line {number}"
        if len(fields) != 6 or not fields[0]:
            raise ValueError(
                f"{where} must be path,x1,y1,x2,y2,class_name, got {','.join(fields)!r}"
            )
        of_image = boxes.setdefault(root / fields[0], [])
        if any(fields[1:]):
            of_image.append(_box(number, fields, where))
    require_files(list(boxes), source=path)
    return [
        RawImage(_key(image, root), image, UNSIZED, path, found) for image, found in boxes.items()
    ]


def _box(number: int, fields: Sequence[str], where: str) -> RawBox:
    if not fields[5]:
        raise ValueError(f"{where} must have a class_name, got none")
    try:
        x1, y1, x2, y2 = map(float, fields[1:5])
    except ValueError as error:
        raise ValueError(
            f"{where} must have numbers x1,y1,x2,y2, got {','.join(fields[1:5])!r}"
        ) from error
    return RawBox(number, fields[5], (x1, y1, x2, y2))


def _key(image: Path, root: Path) -> int:
    """Return a hash of the path below the root, or of the absolute path if it lies elsewhere."""
    return path_key(image.relative_to(root) if image.is_relative_to(root) else image)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields of each non-empty line."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for fields in reader:
                if fields:
                    yield reader.line_num, [field.strip() for field in fields]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: line {reader.line_num} must be CSV, got {error}") from error
