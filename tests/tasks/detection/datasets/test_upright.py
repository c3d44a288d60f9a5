"""Annotated sizes and EXIF's orientation; each box is around the only white pixels of its image."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from box_files import common, read, voc_object, voc_xml, write
from PIL import Image

from visionlab.images.decoding import Images
from visionlab.tasks.detection.datasets.boxes_csv import BoxesCsv
from visionlab.tasks.detection.datasets.coco import Coco
from visionlab.tasks.detection.datasets.voc import Voc
from visionlab.tasks.detection.datasets.yolo import Yolo
from visionlab.tasks.detection.records import Annotated

STORED = (12, 8)  # width and height
BOX = (2, 1, 5, 3)  # x1, y1, x2, y2 on the stored pixels


def turned(path: Path, orientation: int) -> Path:
    """Write an image that is white in the box, stored in an orientation."""
    pixels = np.zeros(STORED[::-1], np.uint8)
    x1, y1, x2, y2 = BOX
    pixels[y1:y2, x1:x2] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def white_box(path: Path) -> list[float]:
    """Return the box around the white pixels of the decoded image."""
    (stack,) = Images([path], factor=lambda *_: 1, num_workers=0).batches([torch.zeros(1).long()])
    down, across = (stack.pixels[0][0] > 0).nonzero().T
    corners = (across.min(), down.min(), across.max() + 1, down.max() + 1)
    return [float(corner) for corner in corners]


def coco(root: Path, box: list[float], size: tuple[int, int] | None) -> Any:
    x1, y1, x2, y2 = box
    sides = {} if size is None else {"width": size[0], "height": size[1]}
    bbox = [x1, y1, x2 - x1, y2 - y1]
    content = {
        "images": [{"id": 1, "file_name": "1.png", **sides}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": bbox}],
        "categories": [{"id": 1, "name": "white"}],
    }
    write(root / "train.json", json.dumps(content))
    splits = {"annotations": {"train": "train.json"}, "images": {"train": "JPEGImages"}}
    return Coco(**common(root, val=0.0) | splits)


def voc(root: Path, box: list[float], size: tuple[int, int] | None) -> Any:
    xml = voc_xml([voc_object("white", tuple(box))], size=size)
    write(root / "Annotations" / "1.xml", xml)
    write(root / "ImageSets" / "Main" / "train.txt", "1\n")
    settings = {
        "splits": {"train": "train"},
        "annotations": "Annotations",
        "images": "JPEGImages",
        "difficult": "crowd",
        "one_based": False,
    }
    return Voc(**common(root, val=0.0) | settings)


def boxes_csv(root: Path, box: list[float], size: tuple[int, int] | None) -> Any:
    header, sides = ("", "") if size is None else (",width,height", f",{size[0]},{size[1]}")
    corners = ",".join(map(str, box))
    lines = [f"filename,xmin,ymin,xmax,ymax,class{header}", f"1.png,{corners},white{sides}"]
    write(root / "train.csv", "\n".join(lines))
    settings = {"annotations": {"train": "train.csv"}, "classes": None, "images": "JPEGImages"}
    return BoxesCsv(**common(root, val=0.0) | settings | {"columns": {}, "box": "xyxy"})


def only(recipe: Any) -> Annotated:
    (sample,) = read(recipe).parts["train"]
    return sample


@pytest.mark.parametrize("make", [coco, voc, boxes_csv])
@pytest.mark.parametrize("annotated", ["upright", "stored", "unsized"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_is_where_the_picture_shows_it(
    tmp_path: Path,
    make: Any,
    annotated: str,
    orientation: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = turned(tmp_path / "JPEGImages" / "1.png", orientation)
    seen = white_box(path)
    upright_size = STORED[::-1] if orientation >= 5 else STORED
    sizes = {"upright": upright_size, "stored": STORED, "unsized": None}
    is_stored = annotated == "stored" and orientation >= 5
    box = [float(value) for value in BOX] if is_stored else seen
    with caplog.at_level(logging.WARNING):
        sample = only(make(tmp_path, box, sizes[annotated]))
    assert (sample.width_px, sample.height_px) == upright_size
    assert sample.boxes.tolist() == [seen]
    assert ("EXIF" in caplog.text) == is_stored


@pytest.mark.parametrize("orientation", range(1, 9))
def test_shares_are_those_of_the_upright_image(tmp_path: Path, orientation: int) -> None:
    seen = white_box(turned(tmp_path / "images" / "1.png", orientation))
    width, height = STORED[::-1] if orientation >= 5 else STORED
    x1, y1, x2, y2 = seen
    shares = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    write(tmp_path / "labels" / "1.txt", f"0 {' '.join(map(str, shares))}")
    write(tmp_path / "data.yaml", "train: images\nnames: [white]\n")
    settings = {"file": "data.yaml", "splits": {"train": "train"}}
    sample = only(Yolo(**common(tmp_path, val=0.0) | settings))
    assert (sample.width_px, sample.height_px) == (width, height)
    assert sample.boxes[0].tolist() == pytest.approx(seen)


@pytest.mark.parametrize("make", [coco, voc, boxes_csv])
def test_another_size_is_refused_before_training(tmp_path: Path, make: Any) -> None:
    path = turned(tmp_path / "JPEGImages" / "1.png", 6)
    message = r"must be 13x8 px as annotated, got 8x12 px \(EXIF orientation 6 of 12x8 px\); "
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} {message}"):
        read(make(tmp_path, [1.0, 1.0, 2.0, 2.0], (13, 8)))


@pytest.mark.parametrize("make", [coco, voc, boxes_csv])
def test_a_box_without_area_stays_invalid_when_turned(tmp_path: Path, make: Any) -> None:
    turned(tmp_path / "JPEGImages" / "1.png", 7)
    with pytest.raises(ValueError, match="must have a width and a height above 0"):
        read(make(tmp_path, [5.0, 1.0, 2.0, 3.0], STORED))
