import re
from pathlib import Path
from typing import Any

import pytest
from box_files import common, read, rows, write, write_image

from visionlab.tasks.detection.datasets.yolo import Yolo

YAML = "train: images/train\nval: images/val\nnames: {0: cat, 3: dog}\n"


def make(root: Path, *, val: str | None = "val", **changes: Any) -> Yolo:
    settings: dict[str, Any] = {"file": "data.yaml", "splits": {"train": "train", "val": val}}
    return Yolo(**common(root, val=0.25) | settings | changes)


def write_set(root: Path, text: str = YAML, *, labels: str = "3 0.5 0.5 0.2 0.4\n") -> None:
    write(root / "data.yaml", text)
    for split in ("train", "val"):
        write(root / "labels" / split / "deep" / "a.txt", labels)
        write_image(root / "images" / split / "deep" / "a.png")
        write_image(root / "images" / split / "b.png")


def test_boxes_are_shares_of_images_and_an_image_may_have_none(tmp_path: Path) -> None:
    write_set(tmp_path)
    write(tmp_path / "labels" / "train" / "classes.txt", "cat\ndog\n")
    found = read(make(tmp_path))
    assert (found.class_names, found.class_ids) == (["cat", "dog"], [0, 3])
    empty, boxed = found.parts["train"]
    assert (empty.name, rows(empty)) == ("images/train/b.png", [])
    assert boxed.name == "images/train/deep/a.png"
    assert rows(boxed) == [(1, pytest.approx([8, 3, 12, 7]))]
    assert found.parts.keys() == {"train", "val"}


def test_a_polygon_becomes_the_box_around_it(tmp_path: Path) -> None:
    write_set(tmp_path, labels="0 0.1 0.2 0.5 0.9 0.25 0.1\n\n")
    assert rows(read(make(tmp_path)).parts["train"][1]) == [(0, pytest.approx([2, 1, 10, 9]))]


@pytest.mark.parametrize(
    "text",
    [
        "path: ../datasets/mine\ntrain: ../train/images\nval: ../valid/images\nnames: [cat]\n",
        "train: train.txt\nval: [valid/images]\nnames: [cat]\n",
        "path: /nowhere/set\ntrain: train\nval: valid\nnames: [cat]\n",
    ],
)
def test_paths_of_other_machines_and_lists_are_found(tmp_path: Path, text: str) -> None:
    write(tmp_path / "data.yaml", text)
    write(tmp_path / "train.txt", "./train/images/a.jpg\n")
    for folder in ("train", "valid"):
        write(tmp_path / folder / "labels" / "a.txt", "0 0.5 0.5 0.2 0.4\n")
        write_image(tmp_path / folder / "images" / "a.jpg")
    found = read(make(tmp_path))
    names = {split: [each.name for each in part] for split, part in found.parts.items()}
    assert names == {"train": ["train/images/a.jpg"], "val": ["valid/images/a.jpg"]}
    assert rows(found.parts["train"][0]) == [(0, pytest.approx([8, 3, 12, 7]))]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("0 0.5 0.5 0.2\n", "line 1 must be class x y width height, or class and a polygon, got"),
        ("0 0.5 0.5 0.2 x\n", "line 1 must be class x y width height, or class and a polygon, got"),
        ("0 0.5 0.5 0.2 0.2 0.9\n", "line 1 must be class x y width height, or"),
        ("0 0.5 0.5 0.2 0.2\n0 30 20 10 10\n", "line 2 must have shares of .* sides, got 30"),
        ("1 0.5 0.5 0.2 0.2\n", "line 1 must be of a class of .*data.yaml, got '1'"),
        ("0 0.5 0.5 0 0.2\n", "line 1 must have a width and a height above 0"),
        ("0 nan 0.5 0.1 0.2\n", "line 1 must be finite"),
    ],
)
def test_what_is_wrong_in_a_line_is_named(tmp_path: Path, labels: str, message: str) -> None:
    write_set(tmp_path, labels=labels)
    path = re.escape(str(tmp_path / "labels" / "train" / "deep" / "a.txt"))
    with pytest.raises(ValueError, match=f"^{path}: {message}"):
        read(make(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: images/train\n", "must have names, a list or a mapping of ids, got train"),
        ("names: [a, a]\ntrain: images/train\n", "names must differ, got 'a' again"),
        ("names: {a: 0}\n", "names must be text by id, got 'a': 0"),
        ("names: {0: yes, 1: no}\n", "names must be text by id, got 0: True; yes, no, .* quotes"),
        ("names: [a]\nnc: 2\n", "nc must be the number of names, 1, got 2"),
        ("names: [a]\n", "must have paths train, got None"),
        ("names: [a]\ntrain: images/train\nval: ''\n", "must have paths val, .*null takes a share"),
    ],
)
def test_what_is_wrong_in_the_yaml_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    write_set(tmp_path, text)
    with pytest.raises(ValueError, match=message):
        read(make(tmp_path))


def test_two_lists_of_folders_have_counts_of_their_own(tmp_path: Path) -> None:
    text = "train: [images/a, images/b]\nval: [images/a, images/c]\nnames: [cat]\n"
    path = write(tmp_path / "data.yaml", text)
    for count, name in enumerate("abc", start=1):
        write(tmp_path / "labels" / name / "1.txt", "0 0.5 0.5 0.2 0.4\n" * count)
        write_image(tmp_path / "images" / name / "1.png")
    counts = read(make(tmp_path)).read_counts
    assert {name: count["boxes"] for name, count in counts.items()} == {
        f"{path} (train)": 3,
        f"{path} (val)": 4,
    }


def test_without_any_text_file_the_place_is_named(tmp_path: Path) -> None:
    write(tmp_path / "data.yaml", "train: images\nnames: [cat]\n")
    for name in "ab":
        write_image(tmp_path / "images" / f"{name}.png")
    message = f"train must have text files .*, got none for 2 images, .* {tmp_path}/labels/a.txt"
    with pytest.raises(FileNotFoundError, match=message):
        read(make(tmp_path, val=None))


def test_text_files_of_something_else_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_set(tmp_path)
    stray = write(tmp_path / "labels" / "train" / "README.txt", "made by me\n")
    assert len(read(make(tmp_path)).parts["train"]) == 2
    assert f"left out 1 text files without image and boxes: {stray}" in caplog.text
    write(stray, "0 0.5 0.5 0.2 0.4\n")
    with pytest.raises(FileNotFoundError, match=r"README\.jpg"):
        read(make(tmp_path))


@pytest.mark.parametrize("listed", [False, True])
def test_paths_may_have_backslashes(tmp_path: Path, listed: bool) -> None:
    write_set(tmp_path, YAML.replace("images/train", "train.txt" if listed else "images\\train"))
    write(tmp_path / "train.txt", ".\\images\\train\\deep\\a.png\n")
    names = [each.name for each in read(make(tmp_path)).parts["train"]]
    assert names[-1] == "images/train/deep/a.png"


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^dataset.file must exist, looked for "):
        read(make(tmp_path))
    write_set(tmp_path, YAML.replace("images/val", "images/dev"))
    message = r"val must exist, looked for .*/images/dev; dataset.splits.val=null: null takes"
    with pytest.raises(FileNotFoundError, match=message):
        read(make(tmp_path))
    assert read(make(tmp_path, val=None)).parts.keys() == {"train"}


def test_stray_files_are_no_images(tmp_path: Path) -> None:
    write_set(tmp_path)
    for stray in ("._b.png", "__MACOSX/c.png", ".ipynb_checkpoints/b.png", "deep/@eaDir/a.png"):
        write(tmp_path / "images" / "train" / stray, "no image")
        write(tmp_path / "labels" / "train" / Path(stray).with_suffix(".txt"), "no label")
    names = [sample.name for sample in read(make(tmp_path)).parts["train"]]
    assert names == ["images/train/b.png", "images/train/deep/a.png"]


def test_two_images_must_not_share_a_text_file(tmp_path: Path) -> None:
    write_set(tmp_path)
    write_image(tmp_path / "images" / "train" / "b.jpg")
    with pytest.raises(ValueError, match=r"must hold one image a name, got b.jpg and b.png"):
        read(make(tmp_path))
