"""Pascal VOC: one XML file per image, in any folders, with or without lists of the splits."""

import logging
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from visionlab.core.checks import check_choice
from visionlab.files.data_paths import root_folder, split_hint
from visionlab.files.documents import read_text
from visionlab.images.parts import configured, existing_folder
from visionlab.images.paths import SUFFIXES, by_stem, forward_slashes, name_and_key
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.datasets.annotations import Wording, from_raw
from visionlab.tasks.detection.datasets.raw_boxes import Corners, RawBox, RawImage, annotated_size
from visionlab.tasks.detection.splits import DetectionFiles

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Voc(DetectionFiles):
    """`root/<annotations>/<name>.xml` and `root/<images>/<name>.jpg`, or `root/<split>/...`.

    The classes are the names of all objects of train, sorted; their ids count from 1. A key is a
    hash of the image's path below `root`.

    Attributes:
        splits: for each split a list in `ImageSets/Main`, without `.txt`, or a list or folder below
            `root`; null for none. If `train` is null, it has all XML files that no list names.
        annotations: the folder of the XML files below `root`, or below the folder of a split.
        images: the folder of the images, likewise.
        difficult: treatment of objects marked as difficult: `crowd` (ignored by evaluation), `keep`
            or `drop`.
        one_based: whether pixels are counted from 1 and the last one belongs to the box, as in VOC;
            then x1 = xmin - 1 and x2 = xmax. Otherwise numbers stay as they are.
    """

    splits: Mapping[str, str | None]
    annotations: str
    images: str
    difficult: str
    one_based: bool

    def __post_init__(self) -> None:
        configured({**self.splits, "train": "any"}, setting="splits")
        check_choice(self, ["crowd", "keep", "drop"], "difficult")

    def __call__(self, *, augmentation: BoxAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; no split may have a class that train does not have."""
        root = root_folder(self.root)
        paths, parts = dict[str, Path](), dict[str, list[RawImage]]()
        for split in ("train", "val", "test"):
            value = self.splits.get(split)
            if value is not None:
                paths[split], parts[split] = self._read_split(root, split, value)
        if "train" not in parts:
            listed = {image.path for part in parts.values() for image in part}
            every = self._read(root, root, None)
            paths = {"train": root / self.annotations} | paths
            parts = {"train": [image for image in every if image.path not in listed]} | parts
        boxes = [box for image in parts["train"] for box in image.boxes or ()]
        class_names = sorted({str(box.category) for box in boxes})
        return from_raw(
            {split: treat_difficult(images, self.difficult) for split, images in parts.items()},
            paths,
            classes={name: number for number, name in enumerate(class_names, start=1)},
            wording=Wording(
                known="a class of train",
                noun="object",
                mistake="are they x, y, width, height, or of images of another size?",
            ),
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )

    def _read_split(self, root: Path, split: str, value: str) -> tuple[Path, list[RawImage]]:
        """Return the list or folder of a split, and its images."""
        lists = [root / "ImageSets" / "Main" / f"{value}.txt", root / value, root / f"{value}.txt"]
        for path in lists:
            if path.is_file():
                return path, self._read(root, root, path)
        if (root / value).is_dir():
            return root / value, self._read(root, root / value, None)
        hint = "null takes all XML files" if split == "train" else split_hint(split)
        raise FileNotFoundError(
            f"dataset.splits.{split} must exist, looked for {lists[0]} and {root / value}; {hint}"
        )

    def _read(self, root: Path, folder: Path, list_path: Path | None) -> list[RawImage]:
        annotations = existing_folder(folder / self.annotations, setting="annotations")
        images = existing_folder(folder / self.images, setting="images")
        return list(
            read_voc(root, annotations, images, list_path=list_path, one_based=self.one_based)
        )


def read_voc(
    root: Path, annotations: Path, images: Path, *, list_path: Path | None, one_based: bool
) -> Iterator[RawImage]:
    """Yield the images of a list, or all that have an XML file, with their objects.

    The image of an XML file has the same name, or else that in its `filename`. A box's number is
    the position of its object, from 1.

    Raises:
        ValueError: a file is malformed.
    """
    sources, found = by_stem(annotations, [".xml"]), by_stem(images, SUFFIXES)
    stems = list(sources) if list_path is None else _read_list(list_path, known=sources)
    for stem in stems:
        source = annotations / sources.get(stem, f"{stem}.xml")
        content = _parse(source) if stem in sources else None
        name = found.get(stem) or _file_name(content) or f"{stem}.jpg"
        path = images / name
        below, key = name_and_key(path, root)
        size = None if content is None else _size(content, source)
        boxes = None if content is None else _boxes(content, source, one_based=one_based)
        yield RawImage(key, below, path, size, source, boxes)
    if list_path is None and (unused := found.keys() - sources.keys()):
        _log.warning("%d images of %s have no XML file and are not used", len(unused), images)


def treat_difficult(images: Sequence[RawImage], difficult: str) -> list[RawImage]:
    """Return images with difficult objects, read as crowds, treated as in `Voc.difficult`."""
    if difficult == "crowd":
        return list(images)
    treated = []
    for image in images:
        if image.boxes is not None and difficult == "keep":
            image = image._replace(boxes=[box._replace(crowd=False) for box in image.boxes])
        elif image.boxes is not None:
            image = image._replace(boxes=[box for box in image.boxes if not box.crowd])
        treated.append(image)
    return treated


def _read_list(path: Path, *, known: Mapping[str, str]) -> list[str]:
    """Return the names in a list, which may have folders, suffixes and a second column."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    return [_stem(line, known) for line in lines if line]


def _stem(line: str, known: Mapping[str, str]) -> str:
    first = line.split()[0]
    name = forward_slashes(first).rpartition("/")[2]
    spellings = (line, first, name, name.rpartition(".")[0])
    return next((each for each in spellings if each in known), first)


def _parse(source: Path) -> ET.Element:
    try:
        return ET.parse(source).getroot()
    except (ET.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{source} must be XML, got {error}") from error


def _file_name(content: ET.Element | None) -> str:
    name = "" if content is None else content.findtext("filename") or ""
    return forward_slashes(name.strip()).rpartition("/")[2]


def _size(content: ET.Element, source: Path) -> tuple[int, int] | None:
    """Return width and height, or None if they are missing or 0."""
    sides = [content.findtext(f"size/{name}") for name in ("width", "height")]
    if None in sides:
        return None
    return annotated_size(*(_number(side, f"{source}: size") for side in sides))


def _boxes(content: ET.Element, source: Path, *, one_based: bool) -> list[RawBox]:
    """Return the boxes of all objects; an object may have several."""
    boxes = []
    for number, element in enumerate(content.iter("object"), start=1):
        where = f"{source}: object {number}"
        names = [(each.text or "").strip() for each in element.findall("name")]
        if len(names) != 1 or not names[0]:
            raise ValueError(f"{where} must have a name, got {' and '.join(names) or 'none'}")
        is_crowd = _number(element.findtext("difficult") or "0", f"{where} difficult") != 0
        found = [_corners(box, where, one_based=one_based) for box in element.findall("bndbox")]
        boxes += [RawBox(number, names[0], each, crowd=is_crowd) for each in found or [None]]
    return boxes


def _corners(box: ET.Element, where: str, *, one_based: bool) -> Corners | None:
    """Return the corners, or None if the element is empty."""
    if not len(box):
        return None
    x1, y1, x2, y2 = (_number(box.findtext(side), f"{where} {side}") for side in _CORNERS)
    first = 1 if one_based else 0
    return x1 - first, y1 - first, x2, y2


def _number(text: str | None, where: str) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise ValueError(f"{where} must be a number, got {text!r}") from error
