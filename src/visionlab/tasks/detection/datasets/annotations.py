"""Raw boxes from files, and their conversion into checked records.

Every reader of files yields `RawImage`s; `annotate` decides which boxes are valid.
"""

import functools
import logging
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

from visionlab.images.holdout import Holdout
from visionlab.images.paths import image_header
from visionlab.images.pixels import Header
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.datasets.orientation import upright_corners
from visionlab.tasks.detection.records import Annotated
from visionlab.tasks.detection.splits import DetectionFiles, from_annotations

UNSIZED = (0, 0)  # of an image without an annotated size
_log = logging.getLogger(__name__)


class RawBox(NamedTuple):
    """A box as read from a file.

    Attributes:
        number: id, position or line in the file, for messages.
        category: name of the class, or an unknown id.
        corners: x1, y1, x2, y2 in pixels of the original image.
        crowd: whether evaluation ignores the box, which is around many objects or difficult.
        area: in square pixels, or None for that of the box.
    """

    number: int
    category: int | str
    corners: tuple[float, float, float, float]
    crowd: bool = False
    area: float | None = None


class RawImage(NamedTuple):
    """An image and its unchecked boxes.

    Attributes:
        key: as in `Annotated`.
        path: the image file.
        size_px: width and height as annotated or `UNSIZED`; after `upright` those of the image.
        source: the file with its boxes.
        boxes: in the order of that file.
    """

    key: int
    path: Path
    size_px: tuple[int, int]
    source: Path
    boxes: Sequence[RawBox]


def from_raw(
    parts: Mapping[str, Sequence[RawImage]],
    paths: Mapping[str, Path],
    *,
    classes: Mapping[str, int],
    known: str,
    noun: str,
    dataset: DetectionFiles,
    augmentation: BoxAugment,
    seed: int,
    device: torch.device,
) -> Data:
    """Return the splits of images with unchecked boxes, read from the file or folder of each part.

    Classes are ids by category, in the order of the labels; the other arguments are those of
    `annotate` and `from_annotations`. Raises as these and `with_val` do.
    """
    labels = {name: label for label, name in enumerate(classes)}
    check = functools.partial(
        annotate, labels=labels, known=known, noun=noun, drop_invalid=dataset.drop_invalid
    )
    samples = {
        split: check(upright(images, part=paths[split]), part=paths[split])
        for split, images in parts.items()
    }
    return from_annotations(
        with_val(samples, val=dataset.val, source=paths["train"]),
        class_names=list(classes),
        class_ids=list(classes.values()),
        num_workers=dataset.num_workers,
        dataset=dataset,
        augmentation=augmentation,
        seed=seed,
        device=device,
    )


def annotate(
    images: Sequence[RawImage],
    *,
    part: Path,
    labels: Mapping[str, int],
    known: str,
    noun: str,
    drop_invalid: bool,
) -> list[Annotated]:
    """Return the records of all images of a part, a file or folder.

    A box partly outside of its image is kept as it is; one that is not finite, has no area or lies
    completely outside is invalid, and either dropped with a warning or an error. Messages describe
    the categories as `known`, such as "a class of train", and a box as `noun`, such as "line".

    Raises:
        ValueError: there is no image, a category is unknown, or a box is invalid.
    """
    if not images:
        raise ValueError(f"{part} must list images, got none")
    records, faults = [], list[str]()
    for image in images:
        valid = []
        for box in image.boxes:
            if box.category not in labels:
                raise ValueError(
                    f"{image.source}: {noun} {box.number} must be of {known}, got {box.category!r}"
                )
            if fault := _fault(box, image.size_px):
                faults.append(f"{image.source}: {noun} {box.number} {fault}")
            else:
                valid.append(box)
        records.append(_record(image, valid, labels))
    if faults and not drop_invalid:
        others = f", and {len(faults) - 1} more such boxes in {part}" if len(faults) > 1 else ""
        raise ValueError(f"{faults[0]}{others}; dataset.drop_invalid=true drops them")
    if faults:
        _log.warning("dropped %d invalid boxes of %s, the first: %s", len(faults), part, faults[0])
    return records


def upright(images: Sequence[RawImage], *, part: Path) -> list[RawImage]:
    """Return images with the size of the upright image, and boxes in its pixels.

    Where EXIF's orientation swaps width and height, the annotated size says to which image the
    boxes belong: to the upright one, or to the pixels as stored; the latter are turned, with a
    warning. Otherwise boxes belong to the upright image.

    Raises:
        ValueError: an image is of neither size, or its header cannot be read.
    """
    with ThreadPoolExecutor(8) as pool:  # most of the time is spent waiting for files
        headers = list(pool.map(image_header, [image.path for image in images]))
    found, turned = [], list[Path]()
    for image, header in zip(images, headers, strict=True):
        boxes = image.boxes
        if image.size_px not in (UNSIZED, header.size_px):
            if image.size_px != header.stored_px:
                raise ValueError(_other_size(image, header))
            boxes = [box._replace(corners=upright_corners(box.corners, header)) for box in boxes]
            turned.append(image.path)
        found.append(image._replace(size_px=header.size_px, boxes=boxes))
    if turned:
        _log.warning(
            "%s: %d images are annotated with their size before EXIF's orientation; images and "
            "boxes were turned, the first: %s",
            *(part, len(turned), turned[0]),
        )
    return found


def _other_size(image: RawImage, header: Header) -> str:
    annotated, got, stored = (
        f"{width}x{height} px"
        for width, height in (image.size_px, header.size_px, header.stored_px)
    )
    exif = f" (EXIF orientation {header.orientation} of {stored})" if got != stored else ""
    return f"{image.path} must be {annotated} as annotated, got {got}{exif}"


def _fault(box: RawBox, size_px: tuple[int, int]) -> str:
    """Return the rule that a box violates and the box, or an empty string."""
    x1, y1, x2, y2 = box.corners
    width, height = size_px
    if not all(map(math.isfinite, box.corners)):
        rule = "must be finite"
    elif x2 <= x1 or y2 <= y1:
        rule = "must have a width and a height above 0"
    elif x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        rule = "must overlap its image"
    else:
        return ""
    got = ", ".join(f"{value:g}" for value in box.corners)
    return f"{rule}, got x1, y1, x2, y2 = {got} in {width}x{height} px"


def _record(image: RawImage, boxes: Sequence[RawBox], labels: Mapping[str, int]) -> Annotated:
    width_px, height_px = image.size_px
    return Annotated(
        key=image.key,
        image=image.path,
        width_px=width_px,
        height_px=height_px,
        boxes=torch.tensor([box.corners for box in boxes], dtype=torch.float64).view(-1, 4),
        labels=torch.tensor([labels[str(box.category)] for box in boxes], dtype=torch.int64),
        crowd=torch.tensor([box.crowd for box in boxes], dtype=torch.bool),
        areas=torch.tensor([_area(box) for box in boxes], dtype=torch.float64),
    )


def _area(box: RawBox) -> float:
    if box.area is not None:
        return box.area
    x1, y1, x2, y2 = box.corners
    return (x2 - x1) * (y2 - y1)


def with_val(
    parts: Mapping[str, list[Annotated]], *, val: Holdout, source: Path
) -> dict[str, list[Annotated]]:
    """Return the parts with a `val` part, held out from `train` unless there is one.

    A share without images is no part. The source is the file or folder of `train`.

    Raises:
        ValueError: `train` has no boxes left.
    """
    divided = dict(parts)
    if "val" not in parts:
        for split, rows in zip(("train", "val"), val.rows(len(parts["train"])), strict=True):
            if len(rows) or split == "train":
                # in the order of the file
                divided[split] = [parts["train"][row] for row in rows.sort().values.tolist()]
    if all(sample.crowd.all() for sample in divided["train"]):
        raise ValueError(
            f"{source} must have boxes to learn from, got {len(divided['train'])} images without"
        )
    return divided
