"""DeepScoresV2: pages of sheet music, annotated in one JSON file per split."""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from visionlab.core.checks import check_choice
from visionlab.core.class_names import distinct_names
from visionlab.files.documents import expect_mapping, parse_json
from visionlab.images.parts import configured, existing_folder, part_paths
from visionlab.images.paths import forward_slashes
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.datasets.annotations import Wording, from_raw
from visionlab.tasks.detection.datasets.coco_json import is_number
from visionlab.tasks.detection.datasets.raw_boxes import RawBox, RawImage, oriented_box
from visionlab.tasks.detection.splits import DetectionFiles

AnnotationSet = Literal["deepscores", "muscima++"]
BoxKind = Literal["o_bbox", "a_bbox"]
_NUMBERS = {"o_bbox": 8, "a_bbox": 4}


@dataclass(frozen=True, kw_only=True)
class DeepScores(DetectionFiles):
    """`root/<annotations>` in the format of DeepScoresV2 (obb_anns), and images in `root/<images>`.

    A label is the rank of its category id within the annotation set, a key is the image id. Objects
    that have no category in the annotation set are left out.

    Attributes:
        annotations: the JSON file of each split below `root`, null for none.
        images: the folder of all images below `root`.
        annotation_set: `deepscores` or `muscima++`.
        box: `o_bbox`, four corners, or `a_bbox`, upright.
    """

    annotations: Mapping[str, str | None]
    images: str
    annotation_set: AnnotationSet
    box: BoxKind

    def __post_init__(self) -> None:
        configured(self.annotations, setting="annotations")
        check_choice(self, get_args(AnnotationSet), "annotation_set")
        check_choice(self, get_args(BoxKind), "box")

    def __call__(self, *, augmentation: BoxAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; they must have the categories of train."""
        root, paths = part_paths(self.root, self.annotations, setting="annotations")
        folder = existing_folder(root / self.images, setting="images")
        parts, classes = dict[str, list[RawImage]](), dict[int, str]()
        for split, path in paths.items():
            parts[split], found = read_deepscores(
                path, folder, annotation_set=self.annotation_set, box=self.box
            )
            classes = classes or found
            if found != classes:
                raise ValueError(f"{path} must have the categories of {paths['train']}, got others")
        return from_raw(
            parts,
            paths,
            classes={name: number for number, name in classes.items()},
            wording=Wording(
                known="a category of the annotation set",
                noun="annotation",
                mistake="are they of images of another size?",
            ),
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )


def read_deepscores(
    path: Path, folder: Path, *, annotation_set: AnnotationSet, box: BoxKind
) -> tuple[list[RawImage], dict[int, str]]:
    """Return the images of a file and the names of the categories of a set by id, ids ascending.

    Annotations of images that are not listed make images without a path, at the end.

    Raises:
        ValueError: the file is malformed.
    """
    content = expect_mapping(
        parse_json(path.read_bytes(), origin=path), origin=path, holding="an object"
    )
    place, names = _place(content, path, annotation_set), _names(content, path, annotation_set)
    annotations = _section(content, path, "annotations", dict)
    files = _files(content, path, annotations)
    boxes: dict[int, list[RawBox]] = {number: [] for number in files}
    for key, entry in annotations.items():
        where = f"{path}: annotations[{key!r}]"
        image = _number(entry.get("img_id"), f"{where}.img_id")
        category = _category(entry, where, place)
        if category is not None:
            number = _number(key, where)
            found = _box(number, names.get(category, category), entry, where, box)
            boxes.setdefault(image, []).append(found)
    return [
        _image(number, files.get(number), path, folder, own) for number, own in boxes.items()
    ], names


def _place(content: Mapping[str, Any], path: Path, annotation_set: str) -> int:
    """Return the place of an annotation set in the `cat_id` of annotations."""
    sets = content.get("annotation_sets")
    if not isinstance(sets, list) or annotation_set not in sets:
        got = reprlib.repr(sets)
        raise ValueError(f"{path}: annotation_sets must have {annotation_set!r}, got {got}")
    return int(sets.index(annotation_set))


def _names(content: Mapping[str, Any], path: Path, annotation_set: str) -> dict[int, str]:
    """Return the names of the categories of a set by id, ids ascending."""
    names = dict[int, str]()
    for key, entry in _section(content, path, "categories", dict).items():
        where = f"{path}: categories[{key!r}]"
        if entry.get("annotation_set") == annotation_set:
            names[_number(key, where)] = _text(entry, "name", where)
    return distinct_names(dict(sorted(names.items())))


def _files(
    content: Mapping[str, Any], path: Path, annotations: Mapping[str, Any]
) -> dict[int, Mapping[str, Any]]:
    """Return the entries of the images by id; the annotations that they list must exist."""
    files = dict[int, Mapping[str, Any]]()
    for entry in _section(content, path, "images", list):
        number = _number(entry.get("id"), f"{path}: id of an image")
        if number in files:
            raise ValueError(f"{path}: images must have ids of their own, got {number} again")
        files[number] = entry
        listed = entry.get("ann_ids", [])
        if not isinstance(listed, list):
            got = reprlib.repr(listed)
            raise ValueError(f"{path}: ann_ids of image {number} must be a list, got {got}")
        if unknown := [each for each in listed if str(each) not in annotations]:
            where = f"{path}: ann_ids of image {number}"
            raise ValueError(f"{where} must be ids of annotations, got {unknown[0]!r}")
    return files


def _section(content: Mapping[str, Any], path: Path, name: str, kind: type) -> Any:
    """Return a section, whose entries are objects."""
    section = content.get(name)
    if not isinstance(section, kind):
        wanted = "an object of entries by id" if kind is dict else "a list"
        raise ValueError(f"{path}: {name} must be {wanted}, got {reprlib.repr(section)}")
    entries: Any = section
    for entry in entries.values() if kind is dict else entries:
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: {name} must hold objects, got {reprlib.repr(entry)}")
    return section


def _number(value: Any, where: str) -> int:
    """Return an id, a whole number or the text of one."""
    if not (type(value) is int or (isinstance(value, str) and value.isdecimal())):
        raise ValueError(f"{where} must be a whole number, got {reprlib.repr(value)}")
    return int(value)


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where} must have a {key}, got {reprlib.repr(value)}")
    return value


def _category(entry: Mapping[str, Any], where: str, place: int) -> int | None:
    """Return the category in an annotation set, None without one."""
    found = entry.get("cat_id")
    if not isinstance(found, list) or len(found) <= place:
        rule = "must have a category or null for each annotation set"
        raise ValueError(f"{where}.cat_id {rule}, got {reprlib.repr(found)}")
    return None if found[place] is None else _number(found[place], f"{where}.cat_id")


def _box(
    number: int, category: int | str, entry: Mapping[str, Any], where: str, kind: BoxKind
) -> RawBox:
    given: Any = entry.get(kind)
    is_list = isinstance(given, list) and all(map(is_number, given))
    if not is_list or len(given) != _NUMBERS[kind]:
        got = reprlib.repr(given)
        raise ValueError(f"{where}.{kind} must be {_NUMBERS[kind]} numbers, got {got}")
    values = [float(value) for value in given]
    if kind == "o_bbox":
        return oriented_box(number, category, values, is_difficult=False)
    x1, y1, x2, y2 = values
    return RawBox(number, category, (x1, y1, x2, y2))


def _image(
    number: int, entry: Mapping[str, Any] | None, source: Path, folder: Path, boxes: list[RawBox]
) -> RawImage:
    if entry is None:
        return RawImage(number, "", None, None, source, boxes)
    where = f"{source}: image {number}"
    name = _text(entry, "filename", where)
    width, height = (_number(entry.get(side), f"{where}: {side}") for side in ("width", "height"))
    return RawImage(number, name, folder / forward_slashes(name), (width, height), source, boxes)
