"""COCO: one JSON file per split, and a folder of images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from visionlab.core.class_names import distinct_names
from visionlab.files.data_paths import existing
from visionlab.images.parts import configured, part_paths
from visionlab.images.paths import forward_slashes
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.datasets import coco_json
from visionlab.tasks.detection.datasets.annotations import Wording, from_raw
from visionlab.tasks.detection.datasets.raw_boxes import RawBox, RawImage
from visionlab.tasks.detection.splits import DetectionFiles


@dataclass(frozen=True, kw_only=True)
class Coco(DetectionFiles):
    """`root/<annotations>` in the format of COCO's instances, and images in `root/<images>`.

    A label is the rank of its category id, a key is the image id.

    Attributes:
        annotations: the JSON file of each split below `root`, null for none.
        images: the folder of each split's images below `root`.
    """

    annotations: Mapping[str, str | None]
    images: Mapping[str, str | None]

    def __post_init__(self) -> None:
        for split in configured(self.annotations, setting="annotations"):
            if self.images.get(split) is None:
                raise ValueError(f"dataset.images.{split} must be given, got null")

    def __call__(self, *, augmentation: BoxAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; they must have the same categories."""
        root, paths = part_paths(self.root, self.annotations, setting="annotations")
        parts: dict[str, list[RawImage]] = {}
        names: dict[int, str] = {}
        for split, path in paths.items():
            folder = existing(root / str(self.images[split]), setting="images", split=split)
            parts[split], found = read_coco(path, folder, annotations_optional=split == "test")
            names = names or found
            _require_same(found, names, path, paths["train"])
        return from_raw(
            parts,
            paths,
            classes={name: number for number, name in distinct_names(names).items()},
            wording=Wording(
                known="a category of the file",
                noun="annotation",
                mistake="is bbox x1, y1, x2, y2 instead of x, y, width, height?",
            ),
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )


def read_coco(
    json_path: Path, image_folder: Path, *, annotations_optional: bool
) -> tuple[list[RawImage], dict[int, str]]:
    """Return the images of a file and the names of its categories by id, ids ascending.

    If annotations are optional, a file without a list of them has images without boxes.
    Annotations of images that are not listed make images without a path, at the end.

    Raises:
        ValueError: the file is malformed.
    """
    images, categories, annotations = coco_json.read(
        json_path, annotations_optional=annotations_optional
    )
    names = distinct_names(categories)
    boxes = {entry["id"]: list[RawBox]() for entry in images}
    for entry in annotations:
        boxes.setdefault(entry["image_id"], []).append(_box(entry, names))
    files = {entry["id"]: (entry["file_name"], _size(entry)) for entry in images}
    found = []
    for number, of_image in boxes.items():
        name, size_px = files.get(number, ("", None))
        path = image_folder / forward_slashes(name) if name else None
        found.append(RawImage(number, name, path, size_px, json_path, of_image))
    return found, categories


def _require_same(
    categories: dict[int, str], of_train: dict[int, str], path: Path, train: Path
) -> None:
    ids = sorted(categories.keys() | of_train.keys())
    others = [number for number in ids if categories.get(number) != of_train.get(number)]
    if others:
        ours, theirs = (names.get(others[0], "none") for names in (categories, of_train))
        raise ValueError(
            f"{path} must have the categories of {train}, got {ours} for id {others[0]}, "
            f"which is {theirs} there"
        )


def _size(entry: coco_json.Entry) -> tuple[int, int] | None:
    if entry.get("width") is None or entry.get("height") is None:
        return None
    return int(entry["width"]), int(entry["height"])


def _box(entry: coco_json.Entry, names: Mapping[int, str]) -> RawBox:
    box = RawBox(
        number=entry["id"],
        category=names.get(entry["category_id"], entry["category_id"]),
        corners=None,
        crowd=bool(entry.get("iscrowd")),
    )
    if not entry.get("bbox"):
        return box
    x, y, width, height = map(float, entry["bbox"])
    area = entry.get("area")
    return box._replace(
        corners=(x, y, x + width, y + height), area=width * height if area is None else float(area)
    )
