"""Images and boxes as read from files, before they are checked."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

Corners = tuple[float, float, float, float]


class RawBox(NamedTuple):
    """A box as read from a file.

    Attributes:
        number: id, position or line in the file, for messages.
        category: name of the class, or an unknown id.
        corners: x1, y1, x2, y2 in pixels of the annotated size, or None if the file has none.
        crowd: whether evaluation ignores the box, which is around many objects or difficult.
        area: in square pixels, or None for that of the box.
        polygon: x1, y1, ... x4, y4 in the same pixels, around which the corners are, or None.
    """

    number: int
    category: int | str
    corners: Corners | None
    crowd: bool = False
    area: float | None = None
    polygon: Sequence[float] | None = None


class RawImage(NamedTuple):
    """An image and its unchecked boxes.

    Attributes:
        key: as in `Annotated`.
        name: as in `Annotated`.
        path: the image file, or None if the boxes are of an image that is not listed.
        size_px: annotated width and height, or None to take those of the upright image.
        source: the file with its boxes.
        boxes: in the order of that file, or None if the file is absent.
        is_relative: whether the corners are shares of width and height instead of pixels.
    """

    key: int
    name: str
    path: Path | None
    size_px: tuple[int, int] | None
    source: Path
    boxes: Sequence[RawBox] | None
    is_relative: bool = False


def annotated_size(width: float, height: float) -> tuple[int, int] | None:
    """Return the annotated size of an image, or None if it is 0 or not finite, hence unknown."""
    if not (1 <= width < math.inf and 1 <= height < math.inf):
        return None
    return int(width), int(height)


def oriented_box(
    number: int, category: int | str, polygon: Sequence[float], *, is_difficult: bool
) -> RawBox:
    """Return a box with four corners x1, y1, ... x4, y4; one that is not finite spoils the box."""
    xs, ys = polygon[::2], polygon[1::2]
    corners = (min(xs), min(ys), max(xs), max(ys))
    if not all(map(math.isfinite, polygon)):
        corners = (math.nan,) * 4
    return RawBox(number, category, corners, is_difficult, None, polygon)
