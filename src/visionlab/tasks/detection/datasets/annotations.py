"""Boxes as files have them, checked and made into records.

Every reader of detection data yields `RawImage`s and leaves to `annotate` which boxes are valid.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from visionlab.images.holdout import Holdout
from visionlab.tasks.detection.records import Annotated

_log = logging.getLogger(__name__)


class RawBox(NamedTuple):
    """A box as a file has it.

    Attributes:
        number: by which it is found in its file: an id, a place, a line.
        category: what the file calls its class, a name or an id.
        corners: x1, y1, x2, y2 in pixels of the original image.
        crowd: whether it is around many objects, or is not to be counted for another reason.
        area: in square pixels, or None for that of the box.
    """

    number: int
    category: int | str
    corners: tuple[float, float, float, float]
    crowd: bool = False
    area: float | None = None


class RawImage(NamedTuple):
    """An image and its boxes, not checked yet.

    Attributes:
        key: as in `Annotated`.
        path: its file.
        size_px: width and height.
        source: the file in which its boxes stand.
        boxes: in the order of that file.
    """

    key: int
    path: Path
    size_px: tuple[int, int]
    source: Path
    boxes: Sequence[RawBox]


class _Invalid(NamedTuple):
    image: RawImage
    box: RawBox
    rule: str


def annotate(
    images: Sequence[RawImage],
    *,
    part: Path,
    labels: Mapping[int | str, int],
    known: str,
    noun: str,
    drop_invalid: bool,
) -> list[Annotated]:
    """Return the records of all images of a part.

    A box that is partly outside its image stays as it is; one that is not finite, has no area or
    lies wholly outside is invalid.

    Args:
        images: the images of the part.
        part: the file or folder that makes up the part.
        labels: of the categories.
        known: what `labels` are, for the message about another category, as "a class of train".
        noun: what a box is called in its file, as "line".
        drop_invalid: whether invalid boxes are dropped with a warning, rather than refused.

    Raises:
        ValueError: there is no image, a category is not known, or a box is invalid.
    """
    if not images:
        raise ValueError(f"{part} must list images, got none")
    _check_categories(images, labels, known=known, noun=noun)
    invalid = _find_invalid(images)
    if invalid:
        fault, more = _describe(invalid[0], noun), len(invalid) - 1
        if not drop_invalid:
            others = f", and {more} more such boxes in {part}" if more else ""
            raise ValueError(f"{fault}{others}; dataset.drop_invalid=true drops them")
        _log.warning("dropped %d invalid boxes of %s, the first: %s", more + 1, part, fault)
        images = [_without_invalid(image) for image in images]
    return [_record(image, labels) for image in images]


def _check_categories(
    images: Sequence[RawImage], labels: Mapping[int | str, int], *, known: str, noun: str
) -> None:
    for image in images:
        for box in image.boxes:
            if box.category not in labels:
                raise ValueError(
                    f"{image.source}: {noun} {box.number} must be of {known}, got {box.category!r}"
                )


def _find_invalid(images: Sequence[RawImage]) -> list[_Invalid]:
    return [
        _Invalid(image, box, rule)
        for image in images
        for box in image.boxes
        if (rule := _broken_rule(box, image.size_px))
    ]


def _without_invalid(image: RawImage) -> RawImage:
    boxes = [box for box in image.boxes if not _broken_rule(box, image.size_px)]
    return image._replace(boxes=boxes)


def _broken_rule(box: RawBox, size_px: tuple[int, int]) -> str:
    """Return what a box must be and is not, or nothing."""
    x1, y1, x2, y2 = box.corners
    if not all(map(math.isfinite, box.corners)):
        return "must be finite"
    if x2 <= x1 or y2 <= y1:
        return "must have a width and a height above 0"
    if x2 <= 0 or y2 <= 0 or x1 >= size_px[0] or y1 >= size_px[1]:
        return "must overlap its image"
    return ""


def _describe(invalid: _Invalid, noun: str) -> str:
    image, box, rule = invalid
    width, height = image.size_px
    corners = ", ".join(f"{value:g}" for value in box.corners)
    return (
        f"{image.source}: {noun} {box.number} {rule}, "
        f"got x1, y1, x2, y2 = {corners} in {width}x{height} px"
    )


def _record(image: RawImage, labels: Mapping[int | str, int]) -> Annotated:
    corners = torch.tensor([box.corners for box in image.boxes], dtype=torch.float64).view(-1, 4)
    areas = [_area(box) for box in image.boxes]
    return Annotated(
        key=image.key,
        image=image.path,
        width_px=image.size_px[0],
        height_px=image.size_px[1],
        boxes=corners,
        labels=torch.tensor([labels[box.category] for box in image.boxes], dtype=torch.int64),
        crowd=torch.tensor([box.crowd for box in image.boxes], dtype=torch.bool),
        areas=torch.tensor(areas, dtype=torch.float64),
    )


def _area(box: RawBox) -> float:
    if box.area is not None:
        return box.area
    x1, y1, x2, y2 = box.corners
    return (x2 - x1) * (y2 - y1)


def with_val(
    parts: Mapping[str, list[Annotated]], *, val: Holdout, source: Path
) -> dict[str, list[Annotated]]:
    """Return the parts with a `val`, which is a share of `train` unless the data has its own.

    Args:
        parts: `train` and, where there are some, `val` and `test`.
        val: the share; one of no image is no part.
        source: the file or folder of `train`.

    Raises:
        ValueError: no box is left to learn from.
    """
    divided = dict(parts)
    if "val" not in parts:
        kept, held_out = val.rows(len(parts["train"]))
        divided["train"] = _take(parts["train"], kept)
        if len(held_out):
            divided["val"] = _take(parts["train"], held_out)
    if all(sample.crowd.all() for sample in divided["train"]):
        raise ValueError(
            f"{source} must have boxes to learn from, got {len(divided['train'])} images without"
        )
    return divided


def _take(samples: Sequence[Annotated], rows: Tensor) -> list[Annotated]:
    """Return some samples in the order of the file."""
    return [samples[row] for row in rows.sort().values.tolist()]
