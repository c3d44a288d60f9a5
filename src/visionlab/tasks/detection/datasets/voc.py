"""Pascal VOC: one XML file per image, and a list of images for each split."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from visionlab.images.parts import configured, part_paths
from visionlab.images.paths import SUFFIXES, by_stem, path_key, require_files
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.datasets.annotations import UNSIZED, RawBox, RawImage, from_raw
from visionlab.tasks.detection.splits import DetectionFiles

_DIFFICULT = ("crowd", "keep", "drop")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, kw_only=True)
class Voc(DetectionFiles):
    """`root/Annotations/<name>.xml`, `root/JPEGImages/<name>.jpg`, `root/ImageSets/Main/*.txt`.

    The classes are the names of all objects of train, sorted; their ids count from 1. A key is a
    hash of the image's path below `root`.

    Attributes:
        splits: the list of each split in `ImageSets/Main`, without `.txt`; null for none.
        difficult: treatment of objects marked as difficult: `crowd` (ignored by evaluation), `keep`
            or `drop`.
        one_based: whether pixels are counted from 1 and the last one belongs to the box, as in VOC;
            then x1 = xmin - 1 and x2 = xmax. Otherwise numbers stay as they are.
    """

    splits: Mapping[str, str | None]
    difficult: str
    one_based: bool

    def __post_init__(self) -> None:
        configured(self.splits, setting="splits")
        if self.difficult not in _DIFFICULT:
            names = ", ".join(_DIFFICULT)
            raise ValueError(f"dataset.difficult must be one of {names}, got {self.difficult!r}")

    def __call__(self, *, augmentation: BoxAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; no split may have a class that train does not have."""
        lists = {
            split: name and f"ImageSets/Main/{name}.txt" for split, name in self.splits.items()
        }
        root, paths = part_paths(self.root, lists, setting="splits")
        parts = {
            split: read_voc(root, path, one_based=self.one_based) for split, path in paths.items()
        }
        class_names = sorted({str(box.category) for image in parts["train"] for box in image.boxes})
        return from_raw(
            {split: treat_difficult(images, self.difficult) for split, images in parts.items()},
            paths,
            classes={name: number for number, name in enumerate(class_names, start=1)},
            known="a class of train",
            noun="object",
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )


def read_voc(root: Path, list_path: Path, *, one_based: bool) -> list[RawImage]:
    """Return the images of a list; a box's number is its position among the objects, from 1.

    Raises:
        FileNotFoundError: an XML file or an image is missing.
        ValueError: a file is malformed.
    """
    xml_folder, image_folder = root / "Annotations", root / "JPEGImages"
    names, images = by_stem(xml_folder, [".xml"]), by_stem(image_folder, SUFFIXES)
    stems = _read_list(list_path, known=names)
    sources = [xml_folder / names.get(stem, f"{stem}.xml") for stem in stems]
    paths = [image_folder / images.get(stem, f"{stem}.jpg") for stem in stems]
    require_files(sources, source=list_path)
    require_files(paths, source=list_path)
    pairs = zip(sources, paths, strict=True)
    return [_read(source, path, root, one_based=one_based) for source, path in pairs]


def treat_difficult(images: Sequence[RawImage], difficult: str) -> list[RawImage]:
    """Return images with difficult objects, read as crowds, treated as in `Voc.difficult`."""
    if difficult == "crowd":
        return list(images)
    if difficult == "keep":
        kept = [[box._replace(crowd=False) for box in image.boxes] for image in images]
    else:
        kept = [[box for box in image.boxes if not box.crowd] for image in images]
    return [image._replace(boxes=boxes) for image, boxes in zip(images, kept, strict=True)]


def _read_list(path: Path, *, known: Mapping[str, str]) -> list[str]:
    """Return the names in a list; a second column, as in lists of a class, is ignored."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text, got {error}") from error
    stems = [line if line in known else line.split()[0] for line in lines if line]
    seen = set[str]()
    for stem in stems:
        if stem in seen:
            raise ValueError(f"{path} must name an image once, got {stem} again")
        seen.add(stem)
    return stems


def _read(source: Path, path: Path, root: Path, *, one_based: bool) -> RawImage:
    try:
        content = ET.parse(source).getroot()
    except (ET.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{source} must be XML, got {error}") from error
    boxes = [
        _box(element, number, source, one_based=one_based)
        for number, element in enumerate(content.findall("object"), start=1)
    ]
    key = path_key(path.relative_to(root))
    return RawImage(key, path, _size(content, source), source, boxes)


def _size(content: ET.Element, source: Path) -> tuple[int, int]:
    """Return width and height, unless they are missing or 0."""
    sides = [content.findtext(f"size/{name}") for name in ("width", "height")]
    if None in sides:
        return UNSIZED
    width, height = (_number(side, f"{source}: size") for side in sides)
    if not (1 <= width < math.inf and 1 <= height < math.inf):
        return UNSIZED
    return int(width), int(height)


def _box(element: ET.Element, number: int, source: Path, *, one_based: bool) -> RawBox:
    where = f"{source}: object {number}"
    name = (element.findtext("name") or "").strip()
    if not name:
        raise ValueError(f"{where} must have a name, got none")
    x1, y1, x2, y2 = (
        _number(element.findtext(f"bndbox/{side}"), f"{where} {side}") for side in _CORNERS
    )
    difficult = _number(element.findtext("difficult") or "0", f"{where} difficult") != 0
    first = 1 if one_based else 0
    return RawBox(number, name, (x1 - first, y1 - first, x2, y2), crowd=difficult)


def _number(text: str | None, where: str) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise ValueError(f"{where} must be a number, got {text!r}") from error
