"""Raw boxes from files, and their conversion into checked records.

Every reader of detection data yields `RawImage`s; `annotate` decides which boxes are valid.
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
from visionlab.tasks.detection.splits import DetectionFiles

_log = logging.getLogger(__name__)


class RawBox(NamedTuple):
    """A box as read from a file.

    Attributes:
        number: id, position or line in the file, for messages.
        category: name or id of the class in the file.
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
        size_px: width and height.
        source: the file with its boxes.
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

    A box partly outside of its image is kept as it is; one that is not finite, has no area or lies
    completely outside is invalid.

    Args:
        images: the images of the part.
        part: the file or folder of the part.
        labels: labels by category.
        known: description of the categories for messages, such as "a class of train".
        noun: description of a box for messages, such as "line".
        drop_invalid: whether invalid boxes are dropped with a warning instead of raising.

    Raises:
        ValueError: there is no image, a category is unknown, or a box is invalid.
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


def annotate_parts(
    parts: Mapping[str, Sequence[RawImage]],
    paths: Mapping[str, Path],
    *,
    class_names: Sequence[str],
    known: str,
    noun: str,
    dataset: DetectionFiles,
) -> dict[str, list[Annotated]]:
    """Return the records of all parts, with a `val` part.

    Args:
        parts: the images of each part.
        paths: the file or folder of each part.
        class_names: categories in the order of the labels.
        known: see `annotate`.
        noun: see `annotate`.
        dataset: the settings.

    Raises:
        ValueError: see `annotate` and `with_val`.
    """
    samples = {
        split: annotate(
            images,
            part=paths[split],
            labels={name: label for label, name in enumerate(class_names)},
            known=known,
            noun=noun,
            drop_invalid=dataset.drop_invalid,
        )
        for split, images in parts.items()
    }
    return with_val(samples, val=dataset.val, source=paths["train"])


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
    """Return the rule that a box violates, or an empty string."""
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
    """Return the parts with a `val` part, held out from `train` unless there is one.

    Args:
        parts: `train` and, if there are any, `val` and `test`.
        val: the share; a share without images is no part.
        source: the file or folder of `train`.

    Raises:
        ValueError: `train` has no boxes left.
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
    """Return some samples, in the order of the file."""
    return [samples[row] for row in rows.sort().values.tolist()]
