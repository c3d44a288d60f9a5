import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from box_files import AUGMENTATION, common, read, write, write_image

from visionlab.tasks.detection.datasets.deepscores import DeepScores

Content = dict[str, Any]


def content() -> Content:
    """Return a file of two pages in the format of DeepScoresV2."""
    return {
        "info": {"description": "test"},
        "annotation_sets": ["deepscores", "muscima++"],
        "categories": {
            "6": {"name": "clefG", "annotation_set": "deepscores", "color": 6},
            "2": {"name": "ledgerLine", "annotation_set": "deepscores", "color": 2},
            "140": {"name": "g-clef", "annotation_set": "muscima++", "color": 4},
        },
        "images": [
            {"id": 11, "filename": "a.png", "width": 20, "height": 10, "ann_ids": ["1", "2"]},
            {"id": 12, "filename": "b.png", "width": 20, "height": 10, "ann_ids": ["3"]},
        ],
        "annotations": {
            "1": _annotation(["6", "140"], "11", [10, 1, 14, 5, 12, 7, 8, 3]),
            "2": _annotation(["2", None], "11", [2, 2, 8, 2, 8, 3, 2, 3]),
            "3": _annotation([None, "140"], "12", [2, 2, 8, 2, 8, 8, 2, 8]),
        },
    }


def _annotation(categories: list[str | None], image: str, corners: list[float]) -> Content:
    upright = [min(corners[::2]), min(corners[1::2]), max(corners[::2]), max(corners[1::2])]
    return {
        "a_bbox": upright,
        "o_bbox": corners,
        "cat_id": categories,
        "area": 10,
        "img_id": image,
        "comments": "instance:#000010;",
    }


def recipe(root: Path, found: Content, **settings: Any) -> DeepScores:
    write(root / "deepscores_train.json", json.dumps(found))
    for name in ("a", "b"):
        write_image(root / "images" / f"{name}.png")
    defaults: dict[str, Any] = {
        "annotations": {"train": "deepscores_train.json", "val": None, "test": None},
        "images": "images",
        "annotation_set": "deepscores",
        "box": "o_bbox",
    }
    return DeepScores(**{**common(root, val=0.0), **defaults, **settings})


def test_oriented_boxes_of_the_first_annotation_set(tmp_path: Path) -> None:
    made = read(recipe(tmp_path, content()))
    assert made.class_names == ["ledgerLine", "clefG"]  # by id, as numbers
    assert made.class_ids == [2, 6]
    first, second = made.parts["train"]
    assert (first.key, first.name, first.width_px, first.height_px) == (11, "a.png", 20, 10)
    assert first.labels.tolist() == [1, 0]
    assert first.polygons is not None
    assert first.polygons[0].tolist() == [[10, 1], [14, 5], [12, 7], [8, 3]]
    assert first.boxes.tolist() == [[8, 1, 14, 7], [2, 2, 8, 3]]
    assert first.areas.tolist() == [16, 6]
    assert len(second.boxes) == 0  # it has no category in this set


def test_upright_boxes_of_the_other_annotation_set(tmp_path: Path) -> None:
    made = read(recipe(tmp_path, content(), annotation_set="muscima++", box="a_bbox"))
    assert made.class_names == ["g-clef"]
    first, second = made.parts["train"]
    assert first.polygons is None
    assert first.boxes.tolist() == [[8, 1, 14, 7]]
    assert second.boxes.tolist() == [[2, 2, 8, 8]]


def _set(*keys: Any, value: Any) -> Callable[[Content], None]:
    """Return what changes a value in a file."""

    def change(found: Content) -> None:
        *parents, last = keys
        for key in parents:
            found = found[key]
        found[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _set("annotations", "2", "img_id", value="99"),
            r"train\.json: annotation 2 must have the id of an image, got image_id 99",
        ),
        (
            _set("images", 1, "ann_ids", value=["3", "17"]),
            r"train\.json: ann_ids of image 12 must be ids of annotations, got '17'",
        ),
        (_set("images", 1, "ann_ids", value="3"), "ann_ids of image 12 must be a list, got '3'"),
        (_set("images", 1, "id", value=11), "images must have ids of their own, got 11 again"),
        (_set("images", 1, "id", value="x"), "id of an image must be a whole number, got 'x'"),
        (_set("images", 0, "filename", value=""), "image 11 must have a filename, got ''"),
        (
            _set("images", 0, "width", value=None),
            "image 11: width must be a whole number, got None",
        ),
        (_set("images", value={}), "images must be a list, got {}"),
        (
            _set("annotations", value=[]),
            r"annotations must be an object of entries by id, got \[\]",
        ),
        (_set("annotations", "1", value=3), "annotations must hold objects, got 3"),
        (
            _set("annotation_sets", value=["muscima++"]),
            r"annotation_sets must have 'deepscores', got \['muscima\+\+'\]",
        ),
        (
            _set("annotations", "1", "cat_id", value="6"),
            r"annotations\['1'\]\.cat_id must have a category or null for each .*, got '6'",
        ),
        (
            _set("annotations", "1", "cat_id", value=["7", None]),
            "annotation 1 must be of a category of the annotation set, got 7",
        ),
        (
            _set("annotations", "1", "o_bbox", value=[1, 2, 3]),
            r"annotations\['1'\]\.o_bbox must be 8 numbers, got \[1, 2, 3\]",
        ),
        (
            _set("annotations", "1", "o_bbox", value=[2, 2, 8, 8, 8, 2, 2, 8]),
            "annotation 1 must have edges that do not cross, got .* = 2, 2, 8, 8, 8, 2, 2, 8",
        ),
        (
            _set("annotations", "1", "o_bbox", value=[22, 2, 28, 2, 28, 8, 22, 8]),
            "annotation 1 must overlap its image, got .* = 22, 2, 28, 8 in 20x10 px",
        ),
        (
            _set("categories", "6", "name", value=None),
            r"categories\['6'\] must have a name, got None",
        ),
    ],
)
def test_malformed_files_are_refused_in_one_line(
    tmp_path: Path, change: Callable[[Content], None], message: str
) -> None:
    found = content()
    change(found)
    with pytest.raises(ValueError, match=message) as caught:
        recipe(tmp_path, found)(augmentation=AUGMENTATION, seed=3, device=torch.device("cpu"))
    assert "\n" not in str(caught.value)


def test_an_annotation_without_image_can_be_dropped(tmp_path: Path) -> None:
    found = content()
    found["annotations"]["2"]["img_id"] = "99"
    made = read(recipe(tmp_path, found, drop_invalid=True))
    assert [len(image.boxes) for image in made.parts["train"]] == [1, 0]
    (counts,) = made.read_counts.values()
    assert counts["dropped boxes, image not listed"] == 1


def test_splits_have_the_same_categories(tmp_path: Path) -> None:
    found = content()
    del found["categories"]["2"]
    made = recipe(
        tmp_path, content(), annotations={"train": "deepscores_train.json", "test": "test.json"}
    )
    write(tmp_path / "test.json", json.dumps(found | {"annotations": {}, "images": []}))
    with pytest.raises(ValueError, match=r"test\.json must have the categories of .*, got others"):
        made(augmentation=AUGMENTATION, seed=3, device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"annotation_set": "coco"}, r"^annotation_set must be .* muscima\+\+, got 'coco'$"),
        ({"box": "bbox"}, "^box must be one of o_bbox, a_bbox, got 'bbox'$"),
        (
            {"annotations": {"train": None}},
            r"^dataset\.annotations\.train must be given, got null$",
        ),
    ],
)
def test_settings(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.compile(message)):
        recipe(tmp_path, content(), **settings)
