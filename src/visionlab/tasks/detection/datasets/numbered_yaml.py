"""Numbered images with a YAML file of boxes each."""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from visionlab.files.documents import expect_mapping, parse_yaml
from visionlab.images.parts import configured, part_paths
from visionlab.images.paths import by_stem, name_and_key
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.datasets.annotations import Wording, from_raw
from visionlab.tasks.detection.datasets.coco_json import is_number
from visionlab.tasks.detection.datasets.raw_boxes import Corners, RawBox, RawImage
from visionlab.tasks.detection.splits import DetectionFiles

_SUFFIXES = (".jpeg", ".jpg", ".png")


@dataclass(frozen=True, kw_only=True)
class NumberedYaml(DetectionFiles):
    """`root/<split>/images/<n>.JPEG`, and `root/<split>/labels/<n>.yml` with bboxes and labels.

    `bboxes` is a list of [xmin, ymin, xmax, ymax] in pixels, `labels` a list of as many class
    names. Labels count from 0; a key is a hash of the image's path below `root`.

    Attributes:
        splits: the folder of each split below `root`, null for none.
        class_names: in the order of the labels; if empty, all names of train, sorted.
    """

    splits: Mapping[str, str | None]
    class_names: Sequence[str]

    def __post_init__(self) -> None:
        configured(self.splits, setting="splits")
        names = list(self.class_names)
        if len(set(names)) < len(names):
            raise ValueError(f"dataset.class_names must differ, got {names}")

    def __call__(self, *, augmentation: BoxAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; no class may be unknown."""
        root, paths = part_paths(self.root, self.splits, setting="splits")
        parts = {split: read_numbered_yaml(root, folder) for split, folder in paths.items()}
        found = {str(box.category) for image in parts["train"] for box in image.boxes or ()}
        class_names = list(self.class_names) or sorted(found)
        return from_raw(
            parts,
            paths,
            classes={name: number for number, name in enumerate(class_names)},
            wording=Wording(
                known="dataset.class_names" if self.class_names else "a class of train",
                noun="box",
                mistake="are they x, y, width, height, or of images of another size?",
            ),
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )


def read_numbered_yaml(root: Path, folder: Path) -> list[RawImage]:
    """Return the images of a split by number; a box's number is its position in the file, from 1.

    An image without a YAML file has no boxes, and vice versa a path that does not exist.

    Raises:
        ValueError: a file is malformed.
    """
    images = _by_number(folder / "images", _SUFFIXES)
    labels = _by_number(folder / "labels", (".yml", ".yaml"))
    found = []
    for number in sorted(images.keys() | labels.keys()):
        path = images.get(number, folder / "images" / f"{number}.JPEG")
        source = labels.get(number, folder / "labels" / f"{number}.yml")
        name, key = name_and_key(path, root)
        boxes = _boxes(source) if number in labels else None
        found.append(RawImage(key, name, path, None, source, boxes))
    return found


def _by_number(folder: Path, suffixes: Sequence[str]) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for stem, name in by_stem(folder, suffixes).items():
        number = int(stem) if stem.isdecimal() else -1
        if number < 0 or number in found:
            raise ValueError(f"{folder} must hold one file a number, got {name}")
        found[number] = folder / name
    return found


def _boxes(source: Path) -> list[RawBox]:
    content = parse_yaml(source.read_bytes(), origin=source)
    content = expect_mapping(content, origin=source, holding="bboxes and labels")
    bboxes, labels = (_list(content, key, source) for key in ("bboxes", "labels"))
    if len(bboxes) != len(labels):
        raise ValueError(
            f"{source} must have as many labels as bboxes, got {len(labels)} and {len(bboxes)}"
        )
    boxes = []
    for number, (bbox, name) in enumerate(zip(bboxes, labels, strict=True), start=1):
        if not isinstance(name, str):
            raise ValueError(
                f"{source}: label {number} must be a name in quotes, got {reprlib.repr(name)}"
            )
        boxes.append(RawBox(number, name, _corners(bbox, f"{source}: box {number}")))
    return boxes


def _list(content: Mapping[Any, Any], key: str, source: Path) -> list[Any]:
    """Return a list; an empty value is an empty list."""
    if key not in content:
        raise ValueError(
            f"{source} must have {key}, got {', '.join(map(str, content)) or 'no key'}"
        )
    value = content[key] or []
    if not isinstance(value, list):
        raise ValueError(f"{source}: {key} must be a list, got {reprlib.repr(value)}")
    return value


def _corners(bbox: Any, where: str) -> Corners | None:
    if bbox in ([], None):
        return None
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox)):
        raise ValueError(f"{where} must be xmin, ymin, xmax, ymax, got {reprlib.repr(bbox)}")
    x1, y1, x2, y2 = map(float, bbox)
    return x1, y1, x2, y2
