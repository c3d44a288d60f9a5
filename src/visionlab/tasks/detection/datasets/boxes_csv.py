"""Boxes in CSV files: the reader's settings, its classes and its images."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from visionlab.core.checks import check_choice
from visionlab.images.parts import configured, existing_folder, part_paths
from visionlab.images.paths import SUFFIXES, by_stem, missing_files, name_and_key
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.datasets.annotations import Wording, from_raw
from visionlab.tasks.detection.datasets.csv_rows import Row, check_columns, lines, read_rows
from visionlab.tasks.detection.datasets.raw_boxes import RawBox, RawImage
from visionlab.tasks.detection.splits import DetectionFiles


@dataclass(frozen=True, kw_only=True)
class BoxesCsv(DetectionFiles):
    """A CSV file per split, with or without a header, with a box or several in a row.

    Without a header, a row is `path,x1,y1,x2,y2,class_name`, and may repeat the last five. With
    one, columns may have any order; usual names are recognised (`filename`, `xmin`, `label`, ...),
    others are given by `columns`. An image has as many rows as needed, one without boxes a row with
    its path alone. A key is a hash of the image's path below `root`.

    Attributes:
        annotations: the file of each split below `root`, null for none.
        images: the folder below `root` that the paths start from; a name may lack its suffix.
        classes: a file below `root` with lines `class_name,id`, or null to take the names of train,
            sorted.
        columns: the header's name of `path`, `x1`, `y1`, `x2`, `y2` (or `width`, `height`), `class`
            and `boxes` (a cell with four numbers for each box), where it is not recognised.
        box: whether the four numbers of a box without such names are `xyxy` (corners) or `xywh`
            (left, top, width, height).
    """

    annotations: Mapping[str, str | None]
    images: str
    classes: str | None
    columns: Mapping[str, str]
    box: Literal["xyxy", "xywh"]

    def __post_init__(self) -> None:
        configured(self.annotations, setting="annotations")
        check_choice(self, ["xyxy", "xywh"], "box")
        check_columns(self.columns)

    def __call__(self, *, augmentation: BoxAugment, seed: int, device: torch.device) -> Data:
        """Return the splits."""
        root, paths = part_paths(self.root, self.annotations, setting="annotations")
        folder = existing_folder(root / self.images, setting="images")
        parts = {
            split: images_of_rows(
                read_rows(path, columns=self.columns, box=self.box), path, folder, root
            )
            for split, path in paths.items()
        }
        known, classes = "a class of train", _sorted_names(parts["train"])
        if self.classes is not None:
            class_file = root / self.classes
            if not class_file.is_file():
                raise FileNotFoundError(
                    f"dataset.classes must exist, looked for {class_file}; null takes the names of "
                    "train"
                )
            known, classes = f"a class of {class_file}", read_classes(class_file)
        return from_raw(
            parts,
            paths,
            classes=classes,
            wording=Wording(
                known=known,
                noun="line",
                mistake="are they x, y, width, height (dataset.box=xywh), or of images of another "
                "size?",
            ),
            dataset=self,
            augmentation=augmentation,
            seed=seed,
            device=device,
        )


def _sorted_names(images: list[RawImage]) -> dict[str, int]:
    names = sorted({str(box.category) for image in images for box in image.boxes or ()})
    return {name: number for number, name in enumerate(names)}


def read_classes(path: Path) -> dict[str, int]:
    """Return ids by class name, in the order of the ids.

    Raises:
        ValueError: a line is not a name and an id, or one of them is repeated.
    """
    ids: dict[str, int] = {}
    for number, fields in lines(path):
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


def images_of_rows(rows: list[Row], source: Path, folder: Path, root: Path) -> list[RawImage]:
    """Return the images of a file in its order, each with the boxes of all of its rows.

    Raises:
        ValueError: two files have a name without its suffix, or rows disagree about a size.
    """
    paths = _find(list(dict.fromkeys(row.path for row in rows)), folder)
    boxes: dict[Path, list[RawBox]] = {path: [] for path in paths.values()}
    sizes: dict[Path, tuple[int, int] | None] = {}
    for row in rows:
        path = paths[row.path]
        boxes[path] += row.boxes
        if sizes.setdefault(path, row.size_px) != row.size_px:
            where, got = f"{source}: line {row.number}", f"{row.size_px} and {sizes[path]}"
            raise ValueError(f"{where} must have one size an image, got {got} for {row.path}")
    found = []
    for path, of_image in boxes.items():
        name, key = name_and_key(path, root)
        found.append(RawImage(key, name, path, sizes[path], source, of_image))
    return found


def _find(names: list[str], folder: Path) -> dict[str, Path]:
    """Return the path of each name; names without suffix are looked up by their stems."""
    paths = {name: folder / name for name in names}
    missing = set(missing_files(list(paths.values())))
    stems = functools.cache(lambda parent: by_stem(parent, SUFFIXES))
    for name, path in paths.items():
        if path in missing and path.suffix.lower() not in SUFFIXES:
            paths[name] = path.with_name(stems(path.parent).get(path.name, path.name))
    return paths
