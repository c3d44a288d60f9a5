"""YOLO: a text file of boxes per image, and a `data.yaml` with folders and class names."""

import logging
import math
import os
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from visionlab.files.data_paths import root_folder, split_hint
from visionlab.files.documents import expect_mapping, parse_yaml, read_text
from visionlab.images.parts import configured
from visionlab.images.paths import SUFFIXES, forward_slashes, is_stray, name_and_key, walk_files
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.datasets.annotations import Wording, from_raw
from visionlab.tasks.detection.datasets.raw_boxes import Corners, RawBox, RawImage
from visionlab.tasks.detection.splits import DetectionFiles

_MAX_SHARE = 2.0  # a box may extend beyond its image; beyond that, the numbers are pixels
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Yolo(DetectionFiles):
    """`data.yaml` with names and folders of images, and a text file per image.

    The labels of `images/train/a.jpg` are in `labels/train/a.txt`, or beside it if no folder is
    called `images`: lines `class x y width height` (centre and sides as shares of the image), or
    `class x1 y1 x2 y2 x3 y3 ...`, a polygon, of which the box around it is taken. An image without
    a text file has no boxes. Ids are those of the file; a key is a hash of the image's path below
    `root`.

    Attributes:
        file: the YAML file below `root`.
        splits: for each split its key in that file, null for none. There stands a folder, a list of
            folders, or a text file with a path of an image per line.
    """

    file: str
    splits: Mapping[str, str | None]

    def __post_init__(self) -> None:
        configured(self.splits, setting="splits")

    def __call__(self, *, augmentation: BoxAugment, seed: int, device: torch.device) -> Data:
        """Return the splits."""
        root = root_folder(self.root)
        path = root / self.file
        if not path.is_file():
            raise FileNotFoundError(f"dataset.file must exist, looked for {path}")
        content = parse_yaml(path.read_bytes(), origin=path)
        content = expect_mapping(content, origin=path, holding="names")
        names = read_names(content, path)
        parts, paths = dict[str, list[RawImage]](), dict[str, Path]()
        for split, key in configured(self.splits, setting="splits").items():
            places = _places(content, key, path, root, split)
            paths[split] = places[0] if len(places) == 1 else path
            parts[split] = [
                image for place in places for image in read_yolo(place, root, names=names)
            ]
        _require_labels(parts["train"], path)
        if "test" not in parts and content.get("test"):
            _log.info("%s names a test part; dataset.splits.test=test takes it", path)
        return from_raw(
            parts,
            paths,
            classes={name: number for number, name in names.items()},
            wording=Wording(
                known=f"a class of {path}",
                noun="line",
                mistake="are they corners instead of centre, width and height?",
            ),
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )


def _require_labels(images: Sequence[RawImage], path: Path) -> None:
    """Refuse images of which none has a text file: they may lie elsewhere."""
    present = (image for image in images if image.path is not None and image.path.is_file())
    if not any(image.source.is_file() for image in images) and (image := next(present, None)):
        raise FileNotFoundError(
            f"{path}: train must have text files of boxes, got none for {len(images)} images, "
            f"looked for {image.source}"
        )


def read_names(content: Mapping[Any, Any], path: Path) -> dict[int, str]:
    """Return the class names by id, ids ascending, of a list or mapping `names`.

    Raises:
        ValueError: there are none, or one is repeated or not a name.
    """
    given = content.get("names")
    if isinstance(given, list):
        given = dict(enumerate(given))
    if not isinstance(given, dict) or not given:
        got = ", ".join(map(str, content)) if given is None else reprlib.repr(given)
        raise ValueError(f"{path} must have names, a list or a mapping of ids, got {got}")
    names: dict[int, str] = {}
    for number, name in given.items():
        is_text = isinstance(name, str | int | float) and not isinstance(name, bool)
        if type(number) is not int or number < 0 or not is_text:
            hint = "; yes, no, on and off need quotes" if isinstance(name, bool) else ""
            raise ValueError(
                f"{path}: names must be text by id, got {number!r}: {name!r:.60}{hint}"
            )
        if str(name) in names.values():
            raise ValueError(f"{path}: names must differ, got {name!r} again")
        names[number] = str(name)
    count = content.get("nc", len(names))
    if count != len(names):
        raise ValueError(f"{path}: nc must be the number of names, {len(names)}, got {count!r}")
    return dict(sorted(names.items()))


def _places(content: Mapping[Any, Any], key: str, path: Path, root: Path, split: str) -> list[Path]:
    """Return the folders or text files of a split.

    Files come from other machines, so a path is looked up below `path` of the YAML file, below
    `root`, and below `root` without leading `../`.

    Raises:
        FileNotFoundError: one does not exist.
        ValueError: the YAML file does not have the key.
    """
    value = content.get(key)
    values = value if isinstance(value, list) else [value]
    hint = "" if split == "train" else f"; dataset.splits.{split}=null: {split_hint(split)}"
    names = [each for each in values if isinstance(each, str) and each]
    if not names or len(names) < len(values):
        raise ValueError(f"{path} must have paths {key}, got {reprlib.repr(value)}{hint}")
    base, found = root / forward_slashes(str(content.get("path") or "")), list[Path]()
    for each in map(forward_slashes, names):
        below = each
        while below.startswith("../"):
            below = below.removeprefix("../")
        places = [base / each, root / each, root / below]
        place = next((place for place in places if place.exists()), None)
        if place is None:
            raise FileNotFoundError(f"{path}: {key} must exist, looked for {places[-1]}{hint}")
        found.append(Path(os.path.normpath(place)))
    return found


def read_yolo(place: Path, root: Path, *, names: Mapping[int, str]) -> Iterator[RawImage]:
    """Yield the images of a folder and of those below it, or of a list, with their boxes.

    Text files in the folder of labels without an image make images that do not exist, unless they
    hold something else than boxes.

    Raises:
        ValueError: a line is malformed, or two images share a text file.
    """
    paths = _listed(place, root) if place.is_file() else _files(place, SUFFIXES)
    labels = {path: label_path(path, root) for path in paths}
    images = {source: path for path, source in labels.items()}
    for path, source in labels.items():
        if images[source] != path:
            got = f"{path.name} and {images[source].name}"
            raise ValueError(f"{path.parent} must hold one image a name, got {got}")
        boxes = read_boxes(source, names) if source.is_file() else []
        yield _image(path, source, root, boxes)
    if place.is_dir():
        folder, others = label_path(place / "any.jpg", root).parent, list[Path]()
        for source in _files(folder, [".txt"]) if folder.is_dir() else []:
            if source not in images and source.name != "classes.txt":
                path = place / source.relative_to(folder).with_suffix(".jpg")
                try:
                    boxes = read_boxes(source, names)
                except ValueError:
                    others.append(source)
                else:
                    yield _image(path, source, root, boxes)
        if others:
            _log.warning(
                "left out %d text files without image and boxes: %s", len(others), others[0]
            )


def label_path(image: Path, root: Path) -> Path:
    """Return the text file of an image: below `labels` where the image is below `images`."""
    try:
        folders = list(image.relative_to(root).parent.parts)
    except ValueError:
        root, folders = Path(image.anchor), list(image.parent.relative_to(image.anchor).parts)
    for place in reversed(range(len(folders))):
        if folders[place] == "images":
            folders[place] = "labels"
            break
    return root.joinpath(*folders, f"{image.stem}.txt")


def _image(path: Path, source: Path, root: Path, boxes: Sequence[RawBox]) -> RawImage:
    name, key = name_and_key(path, root)
    return RawImage(key, name, path, None, source, boxes, is_relative=True)


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files in a folder and below it, sorted; stray ones are left out."""
    return [
        path
        for path in walk_files(folder)
        if path.suffix.lower() in suffixes and not is_stray(path.name)
    ]


def _listed(path: Path, root: Path) -> list[Path]:
    """Return the images of a list; `./` starts at the folder of the list."""
    lines = [forward_slashes(line.strip()) for line in read_text(path).splitlines()]
    found = []
    for line in filter(None, lines):
        near, far = path.parent / line, root / line
        found.append(near if near.exists() or not far.exists() else far)
    return found


def read_boxes(source: Path, names: Mapping[int, str]) -> list[RawBox]:
    """Return the boxes of a text file, with corners as shares of the image.

    Raises:
        ValueError: a line is malformed.
    """
    boxes = []
    for number, line in enumerate(read_text(source).splitlines(), start=1):
        if fields := line.split():
            where = f"{source}: line {number}"
            category, *values = _numbers(fields, where)
            label = int(category) if category.is_integer() else -1
            boxes.append(RawBox(number, names.get(label, fields[0]), _corners(values, where)))
    return boxes


def _numbers(fields: Sequence[str], where: str) -> list[float]:
    rule = f"{where} must be class x y width height, or class and a polygon"
    try:
        values = [float(field) for field in fields]
    except ValueError as error:
        raise ValueError(f"{rule}, got {reprlib.repr(' '.join(fields))}") from error
    if not math.isfinite(values[0]) or (
        len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0)
    ):
        raise ValueError(f"{rule}, got {reprlib.repr(' '.join(fields))}")
    return values


def _corners(values: Sequence[float], where: str) -> Corners:
    """Return the corners of a box (centre, sides) or polygon (x, y, x, y, ...), as shares."""
    if any(value > _MAX_SHARE for value in values):
        raise ValueError(f"{where} must have shares of the image's sides, got {max(values):g}")
    if len(values) > 4:
        return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    x, y, width, height = values
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
