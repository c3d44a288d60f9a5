"""Conversion of raw boxes into checked records, for every reader of files."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import torch

from visionlab.core.polygons import areas as polygon_areas
from visionlab.images.holdout import Holdout
from visionlab.images.pixels import Header
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.datasets.faults import (
    Fault,
    box_fault,
    drop_undecodable,
    image_faults,
    polygon_faults,
    report,
    unlisted_fault,
)
from visionlab.tasks.detection.datasets.orientation import is_annotated_as_stored, upright_boxes
from visionlab.tasks.detection.datasets.raw_boxes import RawBox, RawImage
from visionlab.tasks.detection.records import Annotated
from visionlab.tasks.detection.splits import DetectionFiles, from_annotations

_log = logging.getLogger(__name__)
_MANY = 0.1  # share of boxes outside of their images that suggests another format
_MAX_SHARE = 2.0  # a centre and a side, both shares of the image, added up as if left and width
_Size = tuple[int, int]


class Wording(NamedTuple):
    """Words of a reader's messages.

    Attributes:
        known: the categories, such as "a class of train".
        noun: a box, such as "line".
        mistake: the question to ask where many boxes lie outside of their images.
    """

    known: str
    noun: str
    mistake: str


def from_raw(
    parts: Mapping[str, Sequence[RawImage]],
    paths: Mapping[str, Path],
    *,
    classes: Mapping[str, int],
    wording: Wording,
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
    samples, counts = dict[str, list[Annotated]](), dict[str, dict[str, int]]()
    is_shared = len(set(paths.values())) < len(paths)  # of a YAML file with lists of folders
    for split, images in parts.items():
        name = f"{paths[split]} ({split})" if is_shared else str(paths[split])
        samples[split], counts[name] = annotate(
            images,
            part=paths[split],
            labels=labels,
            wording=wording,
            drop_invalid=dataset.drop_invalid,
            num_workers=dataset.num_workers,
        )
    _warn_of_shared_images(samples)
    return from_annotations(
        with_val(samples, val=dataset.val, source=paths["train"]),
        class_names=list(classes),
        class_ids=list(classes.values()),
        num_workers=dataset.num_workers,
        read_counts=counts,
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
    wording: Wording,
    drop_invalid: bool,
    num_workers: int,
) -> tuple[list[Annotated], dict[str, int]]:
    """Return the records of all images of a part, a file or folder, and counts by name.

    An image is invalid if its file is absent, no image or damaged, has another size than annotated,
    or is listed again. A box is invalid if its image is, or if it is empty, not finite, without
    area, completely outside of its image, or if its edges cross or it is not convex. What is
    invalid ends the run, or is dropped with a warning. A box partly outside and one that repeats
    another are kept as they are.

    Damage behind the header, as in a cut file, is found only where it is dropped: then
    `num_workers` processes decode every image once.

    Where EXIF's orientation swaps width and height, the annotated size says to which image the
    boxes belong: to the upright one, or to the pixels as stored; the latter are turned, with a
    warning. Otherwise boxes belong to the upright image.

    Raises:
        FileNotFoundError: an image is absent.
        ValueError: there is no image, a category is unknown, boxes are not in pixels, or something
            else is invalid.
    """
    if not images:
        raise ValueError(f"{part} must list images, got none")
    _check_pixels(images, part)
    headers, faults = image_faults(images, part=part)
    if drop_invalid:
        headers, damaged = drop_undecodable(images, headers, num_workers=num_workers)
        faults += damaged
    _warn_of_turned(images, headers, part)
    counts, records = Counter(images=0, boxes=0), list[Annotated]()
    for image, header in zip(images, headers, strict=True):
        _check_categories(image, labels, wording)
        if image.path is None:
            faults += [unlisted_fault(box, image, wording.noun) for box in image.boxes or ()]
        elif header is None:
            counts["dropped boxes, of dropped images"] += len(image.boxes or ())
        else:
            boxes, found = _valid_boxes(image, header, noun=wording.noun)
            faults += found
            records.append(_record(image, image.path, header.size_px, boxes, labels))
            different = {(*box[1:3], tuple(box.polygon or ())) for box in boxes}
            counts["repeated boxes"] += len(boxes) - len(different)
            counts["boxes partly outside"] += sum(_is_outside(box, header.size_px) for box in boxes)
    counts["images"] = len(records)
    counts["boxes"] = sum(len(sample.boxes) for sample in records)
    counts["images without boxes"] = sum(not len(sample.boxes) for sample in records)
    counts.update(f"dropped {fault.kind}" for fault in faults)
    _report(faults, counts, part=part, wording=wording, drop_invalid=drop_invalid)
    if not records:
        raise ValueError(f"{part} must have valid images, got {len(images)} invalid ones")
    return records, {name: count for name, count in counts.items() if count}


def _check_pixels(images: Sequence[RawImage], part: Path) -> None:
    """Refuse boxes that are shares of their images: in pixels, all would be in one corner.

    Some among others cause a warning.

    Raises:
        ValueError: the message names the cause.
    """
    in_pixels = [box for image in images if not image.is_relative for box in image.boxes or ()]
    corners = [box.corners for box in in_pixels if box.corners is not None]
    near_0 = [each for each in corners if all(abs(value) <= _MAX_SHARE for value in each)]
    shares = [each for each in near_0 if any(value % 1 for value in each)]
    if not shares:
        return
    message = (
        f"{part} must have boxes in pixels, got {len(shares)} of {len(corners)} within 0 to 1, the "
        f"first x1, y1, x2, y2 = {', '.join(f'{value:g}' for value in shares[0])}: they look like "
        "shares of width and height, by which they must be multiplied (dataset=yolo reads shares)"
    )
    if len(near_0) == len(corners):
        raise ValueError(message)
    _log.warning("%s", message)


def _report(
    faults: Sequence[Fault],
    counts: Mapping[str, int],
    *,
    part: Path,
    wording: Wording,
    drop_invalid: bool,
) -> None:
    """Refuse or warn of what is invalid, and warn of what is odd."""
    num_outside, num_boxes = counts["boxes partly outside"], counts["boxes"]
    num_odd = num_outside + sum(fault.kind.startswith("boxes") for fault in faults)
    is_usual = num_odd < max(2, _MANY * (num_boxes + len(faults)))
    mistake = "" if is_usual else f"; {wording.mistake}"
    report(faults, part=part, drop_invalid=drop_invalid, mistake=mistake)
    if mistake and num_outside:
        message = "%d of %d boxes of %s extend beyond their images%s"
        _log.warning(message, num_outside, num_boxes, part, mistake)
    if count := counts["repeated boxes"]:
        _log.warning("%d boxes of %s repeat a box of the same image; they are kept", count, part)


def _warn_of_turned(
    images: Sequence[RawImage], headers: Sequence[Header | None], part: Path
) -> None:
    turned = [
        image.path
        for image, header in zip(images, headers, strict=True)
        if header is not None and is_annotated_as_stored(image, header)
    ]
    if turned:
        _log.warning(
            "%s: %d images are annotated with their size before EXIF's orientation; images and "
            "boxes were turned, the first: %s",
            *(part, len(turned), turned[0]),
        )


def _check_categories(image: RawImage, labels: Mapping[str, int], wording: Wording) -> None:
    for box in image.boxes or ():
        if box.category not in labels:
            where = f"{image.source}: {wording.noun} {box.number}"
            raise ValueError(f"{where} must be of {wording.known}, got {box.category!r}")


def _valid_boxes(image: RawImage, header: Header, *, noun: str) -> tuple[list[RawBox], list[Fault]]:
    boxes = upright_boxes(image, header)
    faults = [box_fault(box, image, header.size_px, noun=noun) for box in boxes]
    inside = [box for box, fault in zip(boxes, faults, strict=True) if fault is None]
    shapes = polygon_faults(inside, image, noun=noun)
    valid = [box for box, fault in zip(inside, shapes, strict=True) if fault is None]
    return valid, [fault for fault in (*faults, *shapes) if fault is not None]


def _is_outside(box: RawBox, size_px: _Size) -> bool:
    """Return whether a box extends beyond its image by more than a pixel, as rounding may."""
    assert box.corners is not None
    x1, y1, x2, y2 = box.corners
    return min(x1, y1) < -1 or x2 > size_px[0] + 1 or y2 > size_px[1] + 1


def _record(
    image: RawImage, path: Path, size_px: _Size, boxes: Sequence[RawBox], labels: Mapping[str, int]
) -> Annotated:
    corners = [box.corners for box in boxes]
    outlines = [box.polygon for box in boxes if box.polygon is not None]
    polygons = torch.tensor(outlines, dtype=torch.float64).view(-1, 4, 2) if outlines else None
    areas = torch.tensor([_area(box) for box in boxes], dtype=torch.float64)
    return Annotated(
        key=image.key,
        name=image.name,
        image=path,
        width_px=size_px[0],
        height_px=size_px[1],
        boxes=torch.tensor(corners, dtype=torch.float64).view(-1, 4),
        labels=torch.tensor([labels[str(box.category)] for box in boxes], dtype=torch.int64),
        crowd=torch.tensor([box.crowd for box in boxes], dtype=torch.bool),
        areas=areas if polygons is None else polygon_areas(polygons),
        polygons=polygons,
    )


def _area(box: RawBox) -> float:
    assert box.corners is not None
    if box.area is not None:
        return box.area
    x1, y1, x2, y2 = box.corners
    return (x2 - x1) * (y2 - y1)


def _warn_of_shared_images(samples: Mapping[str, Sequence[Annotated]]) -> None:
    for one, other in combinations(samples, 2):
        shared = {each.image for each in samples[one]} & {each.image for each in samples[other]}
        if shared:
            message = "%d images of %s are in %s too, the first: %s"
            _log.warning(message, len(shared), other, one, min(map(str, shared)))


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
