"""Invalid images and boxes: one rule for every reader."""

import logging
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

from visionlab.core import polygons
from visionlab.images.decoding import find_readable
from visionlab.images.paths import image_header, missing_files
from visionlab.images.pixels import Header, UnsupportedImageError
from visionlab.tasks.detection.datasets.raw_boxes import RawBox, RawImage

_log = logging.getLogger(__name__)
_NUM_THREADS = 8  # reading headers waits for the disk or the network
_Size = tuple[int, int]


class Fault(NamedTuple):
    """An invalid image or box.

    Attributes:
        kind: what is counted, for example "images, file absent".
        message: parameter, rule and value.
        is_absent: whether it is a file that does not exist.
    """

    kind: str
    message: str
    is_absent: bool = False


def image_faults(
    images: Sequence[RawImage], *, part: Path
) -> tuple[list[Header | None], list[Fault]]:
    """Read the header of every file; return None for invalid images, and what is wrong.

    Raises:
        UnsupportedImageError: an image is too large, which is no fault of the data.
        OSError: a file cannot be read now, neither is that.
    """
    paths = [image.path for image in images if image.path is not None]
    absent = set(missing_files(paths))
    present = [path for path in paths if path not in absent]
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        headers = dict(zip(present, pool.map(_header, present), strict=True))
    valid, faults, seen = list[Header | None](), list[Fault](), set[str]()
    for image in images:
        header, fault = None, None
        if image.boxes is None:
            message = f"{part} names files that must exist, looked for {image.source}"
            fault = Fault("images, annotation absent", message, is_absent=True)
        elif image.path in absent:
            message = f"{image.source} names files that must exist, looked for {image.path}"
            fault = Fault("images, file absent", message, is_absent=True)
        elif image.path is not None:
            header, fault = _checked_header(image, headers[image.path], seen, part)
        valid.append(header)
        faults += [fault] if fault else []
    return valid, faults


def drop_undecodable(
    images: Sequence[RawImage], headers: Sequence[Header | None], *, num_workers: int
) -> tuple[list[Header | None], list[Fault]]:
    """Decode every valid image once; return its header, None if it is damaged, and the faults.

    Raises:
        ValueError: an image is whole, but cannot be shown faithfully.
    """
    rows = [row for row, header in enumerate(headers) if header is not None]
    paths = [path for row in rows if (path := images[row].path) is not None]
    readable, _ = find_readable(paths, num_workers=num_workers)
    damaged = {rows[place] for place in {*range(len(rows))} - {*readable}}
    return [None if row in damaged else header for row, header in enumerate(headers)], [
        Fault("images, unreadable", f"{images[row].path} must be an image, got a damaged file")
        for row in sorted(damaged)
    ]


def _header(path: Path) -> Header | str:
    try:
        return image_header(path)
    except UnsupportedImageError:
        raise
    except ValueError as error:
        return str(error)


def _checked_header(
    image: RawImage, found: Header | str, seen: set[str], part: Path
) -> tuple[Header | None, Fault | None]:
    place = os.path.normpath(str(image.path))
    if place in seen:
        message = f"{part} must list an image once, got {image.path} again"
        return None, Fault("images, listed again", message)
    seen.add(place)
    if isinstance(found, str):
        return None, Fault("images, unreadable", found)
    if image.size_px is not None and image.size_px not in (found.size_px, found.stored_px):
        message = f"{image.path} must be {_px(image.size_px)} as annotated, got {_sides(found)}"
        return None, Fault("images, size not as annotated", message)
    return found, None


def _sides(header: Header) -> str:
    got, stored = _px(header.size_px), _px(header.stored_px)
    return got if got == stored else f"{got} (EXIF orientation {header.orientation} of {stored})"


def _px(size_px: _Size) -> str:
    return f"{size_px[0]}x{size_px[1]} px"


def box_fault(box: RawBox, image: RawImage, size_px: _Size, *, noun: str) -> Fault | None:
    """Return what is wrong with a box in pixels, if anything."""
    where, (width, height) = f"{image.source}: {noun} {box.number}", size_px
    if box.corners is None:
        return Fault("boxes, empty", f"{where} must have a box, got none")
    x1, y1, x2, y2 = box.corners
    if not all(map(math.isfinite, box.corners)):
        kind, rule = "boxes, not finite", "must be finite"
    elif x2 <= x1 or y2 <= y1:
        kind, rule = "boxes, without area", "must have a width and a height above 0"
    elif x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        kind, rule = "boxes, outside of their image", "must overlap its image"
    else:
        return None
    got = ", ".join(f"{value:g}" for value in box.corners)
    return Fault(kind, f"{where} {rule}, got x1, y1, x2, y2 = {got} in {width}x{height} px")


def polygon_faults(boxes: Sequence[RawBox], image: RawImage, *, noun: str) -> list[Fault | None]:
    """Return what is wrong with the four finite corners of each box, None if nothing is."""
    faults: list[Fault | None] = [None] * len(boxes)
    rows = [row for row, box in enumerate(boxes) if box.polygon is not None]
    corners = torch.tensor([boxes[row].polygon for row in rows], dtype=torch.float64)
    corners = corners.view(-1, 4, 2)
    checks = zip(
        rows,
        polygons.is_simple(corners).tolist(),
        polygons.is_convex(corners).tolist(),
        polygons.areas(corners).tolist(),
        strict=True,
    )
    for row, is_simple, is_convex, area in checks:
        if is_simple and is_convex and area > 0:
            continue
        if not is_simple:
            kind, rule = "boxes, edges cross", "must have edges that do not cross"
        elif not is_convex:
            kind, rule = "boxes, not convex", "must be convex"
        else:
            kind, rule = "boxes, without area", "must have an area above 0"
        got = ", ".join(f"{value:g}" for value in boxes[row].polygon or ())
        where = f"{image.source}: {noun} {boxes[row].number}"
        faults[row] = Fault(kind, f"{where} {rule}, got x1, y1, ... x4, y4 = {got}")
    return faults


def unlisted_fault(box: RawBox, image: RawImage, noun: str) -> Fault:
    """Return what is wrong with a box of an image that is not listed."""
    where = f"{image.source}: {noun} {box.number}"
    message = f"{where} must have the id of an image, got image_id {image.key}"
    return Fault("boxes, image not listed", message)


def report(faults: Sequence[Fault], *, part: Path, drop_invalid: bool, mistake: str) -> None:
    """Refuse a part with invalid images or boxes, or warn of them if they are dropped.

    Raises:
        FileNotFoundError: the first fault is an absent file.
        ValueError: it is another one.
    """
    if not faults:
        return
    first, others = faults[0], len(faults) - 1
    if drop_invalid:
        count = f"dropped {len(faults)} invalid images or boxes of {part}"
        _log.warning("%s, the first: %s%s", count, first.message, mistake)
        return
    more = f", and {others} more invalid images or boxes in {part}" if others else ""
    raised = FileNotFoundError if first.is_absent else ValueError
    hint = "dataset.drop_invalid=true drops them"
    raise raised(f"{first.message}{more}{mistake}; {hint}")
