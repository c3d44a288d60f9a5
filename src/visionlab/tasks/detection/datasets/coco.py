"""COCO: one JSON file per split, and a folder of images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from visionlab.images.parts import configured, existing, part_paths, root_folder
from visionlab.images.paths import header_size, require_files
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.datasets import coco_json
from visionlab.tasks.detection.datasets.annotations import RawBox, RawImage, annotate, with_val
from visionlab.tasks.detection.records import Annotated
from visionlab.tasks.detection.splits import DetectionFiles, from_annotations

_Entry = Mapping[str, Any]


class CocoPart(NamedTuple):
    """Content of one file.

    Attributes:
        samples: in the order of the file.
        categories: names by id, in the order of the ids and of the labels.
    """

    samples: list[Annotated]
    categories: dict[int, str]


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
        """Return the splits.

        Raises:
            FileNotFoundError: a file or a folder is missing.
            ValueError: a file is malformed, or the splits have different categories.
        """
        root, parts = root_folder(self.root), {}
        paths = part_paths(root, self.annotations, setting="annotations")
        for split, path in paths.items():
            folder = root / str(self.images[split])
            parts[split] = read_coco(
                path,
                existing(folder, setting="images", split=split),
                drop_invalid=self.drop_invalid,
                annotations_optional=split == "test",
            )
            _require_same(parts[split].categories, parts["train"].categories, path, paths["train"])
        categories = parts["train"].categories
        samples = {split: part.samples for split, part in parts.items()}
        return from_annotations(
            with_val(samples, val=self.val, source=paths["train"]),
            class_names=_distinct(categories),
            class_ids=list(categories),
            num_workers=self.num_workers,
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )


def _distinct(categories: Mapping[int, str]) -> list[str]:
    """Return the names of categories, with the id appended to a name that several share."""
    counts = Counter(categories.values())
    return [
        name if counts[name] == 1 else f"{name} ({number})" for number, name in categories.items()
    ]


def read_coco(
    json_path: Path, image_folder: Path, *, drop_invalid: bool, annotations_optional: bool = False
) -> CocoPart:
    """Return the images of a file and its categories.

    Args:
        json_path: the file.
        image_folder: the folder of its images.
        drop_invalid: drop invalid boxes with a warning instead of raising.
        annotations_optional: without a list of annotations, all images have no boxes.

    Raises:
        FileNotFoundError: an image is missing.
        ValueError: the file is malformed.
    """
    content = coco_json.read(json_path)
    images = coco_json.images(content, json_path)
    categories = coco_json.categories(content, json_path)
    boxes = {entry["id"]: list[RawBox]() for entry in images}
    if "annotations" in content or not annotations_optional:
        for entry in coco_json.annotations(content, json_path):
            if entry["image_id"] not in boxes:
                raise ValueError(
                    f"{json_path}: annotation {entry['id']} must have the id of an image, "
                    f"got image_id {entry['image_id']}"
                )
            boxes[entry["image_id"]].append(_box(entry))
    samples = annotate(
        _images(images, json_path, image_folder, boxes),
        part=json_path,
        labels={category: label for label, category in enumerate(categories)},
        known="a category of the file",
        noun="annotation",
        drop_invalid=drop_invalid,
    )
    return CocoPart(samples, categories)


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


def _images(
    entries: Sequence[_Entry],
    json_path: Path,
    folder: Path,
    boxes: Mapping[int, Sequence[RawBox]],
) -> list[RawImage]:
    paths = [folder / entry["file_name"] for entry in entries]
    require_files(paths, source=json_path)
    return [
        RawImage(entry["id"], path, _size(entry, path), json_path, boxes[entry["id"]])
        for entry, path in zip(entries, paths, strict=True)
    ]


def _size(entry: _Entry, path: Path) -> tuple[int, int]:
    if entry.get("width") is None or entry.get("height") is None:
        return header_size(path)
    return int(entry["width"]), int(entry["height"])


def _box(entry: _Entry) -> RawBox:
    x, y, width, height = map(float, entry["bbox"])
    area = entry.get("area")
    return RawBox(
        number=entry["id"],
        category=entry["category_id"],
        corners=(x, y, x + width, y + height),
        crowd=bool(entry.get("iscrowd")),
        area=width * height if area is None else float(area),
    )
