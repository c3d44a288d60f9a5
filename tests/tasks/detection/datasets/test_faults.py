"""Invalid images and boxes are treated alike in every format, and all are counted."""

import errno
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from box_files import (
    AUGMENTATION,
    Read,
    common,
    read,
    voc_object,
    voc_xml,
    write,
    write_coco,
    write_image,
)

from visionlab.images.paths import path_key
from visionlab.images.pixels import MAX_PIXELS, UnsupportedImageError
from visionlab.tasks.detection.datasets.boxes_csv import BoxesCsv
from visionlab.tasks.detection.datasets.coco import Coco
from visionlab.tasks.detection.datasets.numbered_yaml import NumberedYaml
from visionlab.tasks.detection.datasets.voc import Voc
from visionlab.tasks.detection.datasets.yolo import Yolo

Boxes = dict[str, list[tuple[float, float, float, float]]]
GOOD = (2.0, 1.0, 6.0, 9.0)


def coco(root: Path, boxes: Boxes, **changes: Any) -> Coco:
    sides = {
        int(stem): [(1, [x1, y1, x2 - x1, y2 - y1]) for x1, y1, x2, y2 in found]
        for stem, found in boxes.items()
    }
    write_coco(root / "train.json", sides, names={1: "cat"})
    for stem in boxes:
        write_image(root / "images" / f"{stem}.png")
    splits = {"annotations": {"train": "train.json"}, "images": {"train": "images"}}
    return Coco(**common(root, val=0.0) | splits | changes)


def voc(root: Path, boxes: Boxes, **changes: Any) -> Voc:
    for stem, found in boxes.items():
        write(root / "xml" / f"{stem}.xml", voc_xml([voc_object("cat", box) for box in found]))
        write_image(root / "images" / f"{stem}.png")
    settings: dict[str, Any] = {
        "splits": {"train": None},
        "annotations": "xml",
        "images": "images",
        "difficult": "crowd",
        "one_based": False,
    }
    return Voc(**common(root, val=0.0) | settings | changes)


def numbered_yaml(root: Path, boxes: Boxes, **changes: Any) -> NumberedYaml:
    for stem, found in boxes.items():
        content = {"bboxes": [list(box) for box in found], "labels": ["cat"] * len(found)}
        write(root / "labels" / f"{stem}.yml", json.dumps(content))
        write_image(root / "images" / f"{stem}.png")
    settings: dict[str, Any] = {"splits": {"train": "."}, "class_names": []}
    return NumberedYaml(**common(root, val=0.0) | settings | changes)


def boxes_csv(root: Path, boxes: Boxes, **changes: Any) -> BoxesCsv:
    lines = []
    for stem, found in boxes.items():
        write_image(root / "images" / f"{stem}.png")
        lines += [f"{stem}.png,{','.join(map(str, box))},cat" for box in found]
        lines += [] if found else [f"{stem}.png,,,,,"]
    write(root / "train.csv", "\n".join(lines))
    settings = {"annotations": {"train": "train.csv"}, "classes": None, "images": "images"}
    return BoxesCsv(**common(root, val=0.0) | settings | {"columns": {}, "box": "xyxy"} | changes)


def yolo(root: Path, boxes: Boxes, **changes: Any) -> Yolo:
    write(root / "data.yaml", "train: images\nnames: [cat]\n")
    for stem, found in boxes.items():
        sides = [
            f"0 {(x1 + x2) / 40} {(y1 + y2) / 20} {(x2 - x1) / 20} {(y2 - y1) / 10}\n"
            for x1, y1, x2, y2 in found
        ]
        write(root / "labels" / f"{stem}.txt", "".join(sides))
        write_image(root / "images" / f"{stem}.png")
    settings: dict[str, Any] = {"file": "data.yaml", "splits": {"train": "train"}}
    return Yolo(**common(root, val=0.0) | settings | changes)


every_format = pytest.mark.parametrize("make", [coco, voc, numbered_yaml, boxes_csv, yolo])
Make = Callable[..., Any]


def counts(found: Read) -> dict[str, int]:
    (of_train,) = found.read_counts.values()
    return dict(of_train)


def spoil_absent(root: Path) -> None:
    (root / "images" / "2.png").unlink()


def spoil_unreadable(root: Path) -> None:
    write(root / "images" / "2.png", "no image")


@every_format
@pytest.mark.parametrize(
    ("spoil", "error", "message", "kind"),
    [
        (spoil_absent, FileNotFoundError, "looked for .*2.png", "dropped images, file absent"),
        (spoil_unreadable, ValueError, "2.png must be an image", "dropped images, unreadable"),
    ],
)
def test_an_image_that_cannot_be_read_is_refused_or_dropped_with_its_boxes(
    tmp_path: Path,
    make: Make,
    spoil: Callable[[Path], None],
    error: type[Exception],
    message: str,
    kind: str,
) -> None:
    make(tmp_path, {"1": [GOOD], "2": [GOOD, (3.0, 3.0, 8.0, 8.0)], "3": []})
    spoil(tmp_path)
    recipe = make(tmp_path, {})
    if make in (coco, boxes_csv):  # their file lists the images
        recipe = make(tmp_path, {"1": [GOOD], "2": [GOOD, (3.0, 3.0, 8.0, 8.0)], "3": []})
        spoil(tmp_path)
    if make is yolo and spoil is spoil_absent:
        message = "looked for .*2.jpg"  # a text file does not say what its image is called
    if make in (voc, numbered_yaml) and spoil is spoil_absent:
        message = "looked for .*2.(jpg|JPEG)"
    with pytest.raises(error, match=f"{message}.*dataset.drop_invalid=true") as caught:
        read(recipe)
    assert "\n" not in str(caught.value)
    found = read(type(recipe)(**vars(recipe) | {"drop_invalid": True}))
    assert [sample.name.rpartition("/")[2] for sample in found.parts["train"]] == [
        "1.png",
        "3.png",
    ]
    expected = {"images": 2, "boxes": 1, "images without boxes": 1, kind: 1}
    assert counts(found) == {**expected, "dropped boxes, of dropped images": 2}


@every_format
def test_a_large_image_is_refused_by_the_name_of_the_limit_and_never_dropped(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make(tmp_path, {"1": [GOOD], "2": [GOOD]}, drop_invalid=True)
    write_image(tmp_path / "images" / "2.png", (20, 11))
    monkeypatch.setenv(MAX_PIXELS, "219")
    message = f"2.png must have at most 219 pixels, got 20x11; .* {MAX_PIXELS} "
    with pytest.raises(UnsupportedImageError, match=message):
        read(recipe)


@every_format
def test_an_image_that_cannot_be_read_now_is_never_dropped(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make(tmp_path, {"1": [GOOD], "2": [GOOD]}, drop_invalid=True)
    error = OSError(errno.EMFILE, "Too many open files")
    monkeypatch.setattr("visionlab.images.paths.open_image", Mock(side_effect=error))
    with pytest.raises(OSError, match="Too many open files"):
        read(recipe)


@every_format
def test_invalid_boxes_are_dropped_and_counted_by_kind(tmp_path: Path, make: Make) -> None:
    boxes = [GOOD, (30.0, 1.0, 34.0, 4.0), (4.0, 4.0, 4.0, 8.0)]
    found = read(make(tmp_path, {"1": boxes, "2": []}, drop_invalid=True))
    assert [len(sample.boxes) for sample in found.parts["train"]] == [1, 0]
    assert counts(found) == {
        "images": 2,
        "boxes": 1,
        "images without boxes": 1,
        "dropped boxes, outside of their image": 1,
        "dropped boxes, without area": 1,
    }


@every_format
def test_repeated_boxes_are_kept_and_said(
    tmp_path: Path, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    found = read(make(tmp_path, {"1": [GOOD, GOOD, (0.0, 0.0, 5.0, 5.0)]}))
    assert counts(found) == {"images": 1, "boxes": 3, "repeated boxes": 1}
    assert "1 boxes of" in caplog.text
    assert "repeat" in caplog.text


@pytest.mark.parametrize("make", [coco, voc, numbered_yaml, boxes_csv])
@pytest.mark.parametrize("drop_invalid", [False, True])
@pytest.mark.parametrize(
    "boxes",
    [
        [(0.1, 0.1, 0.3, 0.9), (0.0, 0.5, 1.0, 1.0)],
        [(0.7, 0.5, 0.2, 0.4)],  # centre and sides
    ],
)
def test_shares_instead_of_pixels_are_refused(
    tmp_path: Path, make: Make, boxes: list[tuple[float, float, float, float]], drop_invalid: bool
) -> None:
    recipe = make(tmp_path, {"1": boxes[:1], "2": boxes[1:], "3": []}, drop_invalid=drop_invalid)
    message = (
        rf"must have boxes in pixels, got \d of {len(boxes)} within 0 to 1, .* shares of width"
    )
    with pytest.raises(ValueError, match=message):
        read(recipe)


@pytest.mark.parametrize("make", [coco, voc, numbered_yaml, boxes_csv])
def test_shares_among_pixels_are_warned_of(
    tmp_path: Path, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    read(make(tmp_path, {"1": [(0.25, 0.5, 0.75, 1.0)], "2": [GOOD]}))
    assert "got 1 of 2 within 0 to 1" in caplog.text


@every_format
def test_a_small_box_is_no_share(tmp_path: Path, make: Make) -> None:
    found = read(make(tmp_path, {"1": [(0.5, 0.5, 1.5, 1.5)], "2": [GOOD]}))
    assert counts(found) == {"images": 2, "boxes": 2}
    found = read(make(tmp_path, {"1": [(0.0, 0.0, 1.0, 1.0)], "2": []}))
    assert counts(found) == {"images": 2, "boxes": 1, "images without boxes": 1}


@every_format
def test_many_boxes_beyond_their_images_are_a_warning(
    tmp_path: Path, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    beyond = (2.0, 1.0, 30.0, 9.0)
    read(make(tmp_path / "one", {"1": [GOOD, beyond], "2": [GOOD]}))
    assert not caplog.records
    read(make(tmp_path / "two", {"1": [GOOD, beyond], "2": [beyond]}))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert re.search(r"2 of 3 boxes .*\?$", record.getMessage())


def test_a_size_that_is_not_as_annotated_is_found_before_training(tmp_path: Path) -> None:
    recipe = coco(tmp_path, {"1": [GOOD], "2": [GOOD]})
    write_image(tmp_path / "images" / "2.png", (21, 10))
    message = r"2.png must be 20x10 px as annotated, got 21x10 px"
    with pytest.raises(ValueError, match=message):
        read(recipe)
    found = read(Coco(**vars(recipe) | {"drop_invalid": True}))
    assert counts(found)["dropped images, size not as annotated"] == 1


def test_an_image_listed_again_is_refused_or_dropped(tmp_path: Path) -> None:
    recipe = coco(tmp_path, {"1": [GOOD], "2": [GOOD]})
    content = json.loads((tmp_path / "train.json").read_text())
    content["images"][1]["file_name"] = "./1.png"
    write(tmp_path / "train.json", json.dumps(content))
    with pytest.raises(ValueError, match=r"train.json must list an image once, got .*1.png again"):
        read(recipe)
    found = read(Coco(**vars(recipe) | {"drop_invalid": True}))
    assert counts(found) == {
        "images": 1,
        "boxes": 1,
        "dropped images, listed again": 1,
        "dropped boxes, of dropped images": 1,
    }


def test_annotations_of_images_that_are_not_listed(tmp_path: Path) -> None:
    recipe = coco(tmp_path, {"1": [GOOD], "2": [GOOD]})
    content = json.loads((tmp_path / "train.json").read_text())
    content["images"] = content["images"][:1]
    write(tmp_path / "train.json", json.dumps(content))
    with pytest.raises(ValueError, match=r"annotation 2 must have the id of an image, got .* 2"):
        read(recipe)
    found = read(Coco(**vars(recipe) | {"drop_invalid": True}))
    expected = {"images": 1, "boxes": 1, "dropped boxes, image not listed": 1}
    assert counts(found) == expected


@pytest.mark.parametrize("bbox", [[], None])
def test_an_empty_box_is_dropped(tmp_path: Path, bbox: object) -> None:
    recipe = coco(tmp_path, {"1": [GOOD]})
    content = json.loads((tmp_path / "train.json").read_text())
    content["annotations"].append({"id": 9, "image_id": 1, "category_id": 1, "bbox": bbox})
    write(tmp_path / "train.json", json.dumps(content))
    with pytest.raises(ValueError, match=r"annotation 9 must have a box, got none"):
        read(recipe)
    found = read(Coco(**vars(recipe) | {"drop_invalid": True}))
    assert counts(found) == {"images": 1, "boxes": 1, "dropped boxes, empty": 1}


def test_a_repeated_key_is_refused(tmp_path: Path) -> None:
    recipe = coco(tmp_path, {"1": [GOOD]})
    text = (tmp_path / "train.json").read_text()
    write(tmp_path / "train.json", text[:-1] + ', "annotations": []}')
    with pytest.raises(ValueError, match="must be JSON, got the key 'annotations' twice"):
        read(recipe)
    again = numbered_yaml(tmp_path / "yaml", {"1": [GOOD]})
    write(tmp_path / "yaml" / "labels" / "1.yml", "bboxes: []\nlabels: []\nbboxes: []\n")
    with pytest.raises(ValueError, match="must be YAML, got the key 'bboxes' twice"):
        read(again)


def test_images_of_two_parts_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    splits = {"train": "train.json", "val": "train.json"}
    images = {"train": "images", "val": "images"}
    read(coco(tmp_path, {"1": [GOOD], "2": []}, annotations=splits, images=images))
    assert "2 images of val are in train too" in caplog.text


def test_a_part_without_valid_images_is_refused(tmp_path: Path) -> None:
    recipe = coco(tmp_path, {"1": [GOOD]}, drop_invalid=True)
    spoiled = tmp_path / "images" / "1.png"
    spoiled.unlink()
    with pytest.raises(ValueError, match=r"train.json must have valid images, got 1 invalid"):
        read(recipe)


@pytest.mark.parametrize("drop_invalid", [True, False])
def test_a_cut_image_is_dropped_or_named_with_the_setting(
    tmp_path: Path, drop_invalid: bool
) -> None:
    boxes = {str(number): [GOOD] for number in (1, 2, 3)}
    recipe = coco(tmp_path, boxes, drop_invalid=drop_invalid)
    path = tmp_path / "images" / "2.png"
    path.write_bytes(path.read_bytes()[:-30])
    data = recipe(augmentation=AUGMENTATION, seed=3, device=torch.device("cpu"))
    batches = data.splits["train"].batches(batch_size=3, epoch=0, first_batch=0)
    if drop_invalid:
        assert sorted(next(iter(batches)).keys.tolist()) == [1, 3]
        (counts,) = data.read_counts.values()
        assert (counts["images"], counts["dropped images, unreadable"]) == (2, 1)
        assert counts["dropped boxes, of dropped images"] == 1
    else:
        message = f"^{path} must be an image, .*; dataset.drop_invalid=true drops"
        with pytest.raises(ValueError, match=message):
            next(iter(batches))


def test_images_elsewhere_are_named_by_their_whole_path(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    voc(elsewhere, {"1": [GOOD]})
    numbered_yaml(elsewhere, {"1": [GOOD]})
    root.mkdir()
    places = {"images": str(elsewhere / "images"), "annotations": str(elsewhere / "xml")}
    by_number = numbered_yaml(root, {}, splits={"train": str(elsewhere)})
    for recipe in (voc(root, {}, **places), by_number):
        (sample,) = read(recipe).parts["train"]
        assert sample.name == f"{elsewhere}/images/1.png"
        assert sample.key == path_key(elsewhere / "images" / "1.png")
