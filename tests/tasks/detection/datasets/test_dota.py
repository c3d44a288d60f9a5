import re
from pathlib import Path
from typing import Any

import pytest
import torch
from box_files import AUGMENTATION, common, read, write, write_image

from visionlab.tasks.detection.datasets.dota import Dota

SQUARE = "2 2 8 2 8 8 2 8"
TURNED = "10 1 14 5 12 7 8 3"


def folder(root: Path, **texts: str) -> Path:
    """Write a text file and an image in `train` for each name."""
    for name, text in texts.items():
        write(root / "train" / "labelTxt" / f"{name}.txt", text)
        write_image(root / "train" / "images" / f"{name}.png")
    return root


def recipe(root: Path, **settings: Any) -> Dota:
    labels = {"train": "train/labelTxt", "val": None, "test": None}
    images = {"train": "train/images", "val": "val/images", "test": None}
    return Dota(**{**common(root, val=0.0), "labels": labels, "images": images, **settings})


def refusal(recipe: Dota) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        recipe(augmentation=AUGMENTATION, seed=3, device=torch.device("cpu"))
    return str(caught.value)


def test_lines_headers_classes_and_difficult_objects(tmp_path: Path) -> None:
    header = "imagesource:GoogleEarth\ngsd:0.146\n"
    made = read(
        recipe(
            folder(
                tmp_path,
                a=f"{header}{SQUARE} ship 0\n{TURNED} large-vehicle 1\n{TURNED} ship\n",
                b=header,
            )
        )
    )
    assert made.class_names == ["large-vehicle", "ship"]
    assert made.class_ids == [1, 2]
    first, second = made.parts["train"]
    assert first.name == "train/images/a.png"
    assert first.labels.tolist() == [1, 0, 1]
    assert first.crowd.tolist() == [False, True, False]
    assert first.polygons is not None
    assert first.polygons[1].tolist() == [[10, 1], [14, 5], [12, 7], [8, 3]]
    assert first.boxes.tolist() == [[2, 2, 8, 8], [8, 1, 14, 7], [8, 1, 14, 7]]
    assert first.areas.tolist() == [36, 16, 16]
    assert len(second.boxes) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "2 2 8 8 8 2 2 8 ship 0",
            "a.txt: line 1 must have edges that do not cross, got .* = 2, 2, 8,",
        ),
        ("2 2 8 2 4 4 2 8 ship 0", "a.txt: line 1 must be convex, got .* = 2, 2, 8, 2, 4, 4, 2, 8"),
        ("2 2 4 4 6 6 8 8 ship 0", "a.txt: line 1 must have an area above 0, got .*2, 2, 4, 4"),
        (
            "2 2 8 2 8 2 2 2 ship 0",
            "line 1 must have a width and a height above 0, got .* = 2, 2, 8, 2",
        ),
        (
            "22 2 28 2 28 8 22 8 ship 0",
            "line 1 must overlap its image, got .* 22, 2, 28, 8 in 20x10",
        ),
        ("2 2 nan 2 8 8 2 8 ship 0", "line 1 must be finite, got .* nan"),
        ("2 2 8 x 8 8 2 8 ship 0", "line 1 must start with eight numbers, got '2 2 8 x 8 8 2 8'"),
        (f"{SQUARE} ship 2", "line 1 must end in 0 or 1, difficult or not, got '2'"),
        (f"{SQUARE} large vehicle 0", "line 1 must end in 0 or 1, difficult or not, got '0'"),
    ],
)
def test_bad_lines_are_refused_in_one_line(tmp_path: Path, line: str, message: str) -> None:
    found = refusal(recipe(folder(tmp_path, a=line)))
    assert re.search(message, found), found
    assert "\n" not in found


def test_bad_boxes_can_be_dropped(tmp_path: Path) -> None:
    lines = f"2 2 8 8 8 2 2 8 ship 0\n{SQUARE} ship 0\n2 2 8 2 4 4 2 8 ship 0\n"
    made = read(recipe(folder(tmp_path, a=lines), drop_invalid=True))
    (image,) = made.parts["train"]
    assert image.boxes.tolist() == [[2, 2, 8, 8]]
    (counts,) = made.read_counts.values()
    assert counts["dropped boxes, edges cross"] == 1
    assert counts["dropped boxes, not convex"] == 1


def test_a_box_partly_outside_is_kept(tmp_path: Path) -> None:
    made = read(recipe(folder(tmp_path, a="-4 2 8 2 8 8 -4 8 ship 0")))
    assert made.parts["train"][0].boxes.tolist() == [[-4, 2, 8, 8]]


def test_crossing_boxes_in_the_same_upright_box_are_no_repetition(tmp_path: Path) -> None:
    lines = "2 2 3 2 8 8 7 8 ship 0\n7 2 8 2 3 8 2 8 ship 0\n"
    (counts,) = read(recipe(folder(tmp_path, a=lines))).read_counts.values()
    assert counts == {"images": 1, "boxes": 2}


def test_an_absent_image_is_named(tmp_path: Path) -> None:
    folder(tmp_path, a=f"{SQUARE} ship 0")
    write(tmp_path / "train" / "labelTxt" / "b.txt", f"{SQUARE} ship 0")
    with pytest.raises(FileNotFoundError, match=r"looked for .*b\.png"):
        recipe(tmp_path)(augmentation=AUGMENTATION, seed=3, device=torch.device("cpu"))


def test_settings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^dataset\.images\.train must be given, got null$"):
        recipe(tmp_path, images={"train": None})
    with pytest.raises(ValueError, match=r"^dataset\.labels\.train must be given, got null$"):
        recipe(tmp_path, labels={"train": None})
