import json
import re
from pathlib import Path
from typing import Any

import pytest
from box_files import SIZE, common, read, rows, write, write_image

from visionlab.images.paths import path_key
from visionlab.tasks.detection.datasets.numbered_yaml import NumberedYaml, read_numbered_yaml

Boxes = list[tuple[str, list[float]]]
DOG, CAT = ("dog", [1, 2, 3, 4]), ("cat", [0.5, 0, 20, 10])


def make(root: Path, *, splits: tuple[str, ...] = ("train",), **changes: Any) -> NumberedYaml:
    settings = {"splits": {split: split for split in splits}, "class_names": []}
    return NumberedYaml(**common(root, val=0.0) | settings | changes)


def write_split(root: Path, split: str, images: dict[int, Boxes]) -> None:
    for number, boxes in images.items():
        content = {"bboxes": [box for _, box in boxes], "labels": [name for name, _ in boxes]}
        write(root / split / "labels" / f"{number}.yml", json.dumps(content))
        write_image(root / split / "images" / f"{number}.JPEG")


def test_images_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {10: [DOG], 9: [CAT, DOG], 100: []})
    found = read(make(tmp_path))
    assert (found.class_names, found.class_ids) == (["cat", "dog"], [0, 1])
    samples = found.parts["train"]
    assert [sample.image for sample in samples] == [
        tmp_path / "train" / "images" / f"{number}.JPEG" for number in (9, 10, 100)
    ]
    assert samples[0].key == path_key(Path("train/images/9.JPEG"))
    assert rows(samples[0]) == [(0, [0.5, 0, 20, 10]), (1, [1, 2, 3, 4])]
    assert rows(samples[2]) == []
    assert (samples[0].width_px, samples[0].height_px) == SIZE


def test_given_class_names_are_in_the_order_given_and_none_is_lost(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {1: [DOG], 2: [CAT]})
    found = read(make(tmp_path, class_names=["dog", "emu", "cat"]))
    assert (found.class_names, found.class_ids) == (["dog", "emu", "cat"], [0, 1, 2])
    assert [sample.labels.tolist() for sample in found.parts["train"]] == [[0], [2]]


def test_classes_of_other_splits_must_be_known(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {1: [DOG]})
    write_split(tmp_path, "val", {2: [DOG, CAT]})
    splits = ("train", "val")
    message = r"val/labels/2.yml: box 2 must be of a class of train, got 'cat'$"
    with pytest.raises(ValueError, match=message):
        read(make(tmp_path, splits=splits))
    message = r"val/labels/2.yml: box 2 must be of dataset.class_names, got 'cat'$"
    with pytest.raises(ValueError, match=message):
        read(make(tmp_path, splits=splits, class_names=["dog"]))
    assert len(read(make(tmp_path, splits=splits, class_names=["dog", "cat"])).parts["val"]) == 1


def test_suffixes_are_of_several_kinds_and_other_files_are_not_read(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {1: [DOG]})
    folder = tmp_path / "train" / "images"
    for number, suffix in ((2, "jpg"), (3, "PNG"), (4, "jpeg")):
        write_image(folder / f"{number}.{suffix}")
        write(tmp_path / "train" / "labels" / f"{number}.yaml", "bboxes:\nlabels: []\n")
    for name in (".5.JPEG", "6.txt"):
        (folder / name).write_text("nothing")
    images = read_numbered_yaml(tmp_path, tmp_path / "train")
    assert [image.path.name for image in images] == ["1.JPEG", "2.jpg", "3.PNG", "4.jpeg"]


def test_yaml_as_people_write_it(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {1: []})
    text = (
        "labels:\n- cup or mug\n- dog\nbboxes:\n- [1, 2, 3, 4]\n- - 0.5\n  - 1\n  - 2\n  - 3.0e+0\n"
    )
    write(tmp_path / "train" / "labels" / "1.yml", text)
    (image,) = read_numbered_yaml(tmp_path, tmp_path / "train")
    assert [box.category for box in image.boxes] == ["cup or mug", "dog"]
    assert image.boxes[0].corners == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", " must be YAML, got while parsing"),
        ("a: !!python/name:os.system", " must be YAML, got could not determine a constructor"),
        ("", " must hold bboxes and labels, got nothing"),
        ("[1, 2]", " must hold bboxes and labels, got a list"),
        ("{labels: []}", " must have bboxes, got labels"),
        ("{bboxes: []}", " must have labels, got bboxes"),
        ("{bboxes: 3, labels: []}", ": bboxes must be a list, got 3"),
        ("{bboxes: [[1, 2, 3, 4]], labels: []}", " must have as many labels as bboxes, got 0 and"),
        ("{bboxes: [[1, 2, 3]], labels: [a]}", ": box 1 must be xmin, ymin, xmax, ymax, got [1,"),
        ("{bboxes: [[1, 2, 3, x]], labels: [a]}", ": box 1 must be xmin, ymin, xmax, ymax, got"),
        ("{bboxes: [[1, 2, 3, true]], labels: [a]}", ": box 1 must be xmin, ymin, xmax, ymax, got"),
        ("{bboxes: [[1, 2, 3, 4]], labels: [no]}", ": label 1 must be a name in quotes, got False"),
        (
            "{bboxes: [[1, 2, 3, 4], [3, 2, 1, 4]], labels: [a, a]}",
            ": box 2 must have a width and a height above 0, got x1, y1, x2, y2 = 3, 2, 1, 4 in",
        ),
        ("{bboxes: [[1, .nan, 3, 4]], labels: [a]}", ": box 1 must be finite"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    write_split(tmp_path, "train", {1: []})
    path = write(tmp_path / "train" / "labels" / "1.yml", text)
    with pytest.raises(ValueError, match=f"^{path}{re.escape(message)}") as caught:
        read(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_images_and_labels_must_be_pairs(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {1: [DOG], 2: [], 3: []})
    split = tmp_path / "train"
    (split / "labels" / "2.yml").unlink()
    message = f"^{split} names files that must exist, looked for {split}/labels/2.yml;"
    with pytest.raises(FileNotFoundError, match=message):
        read(make(tmp_path))
    (split / "images" / "2.JPEG").unlink()
    (split / "images" / "3.JPEG").unlink()
    message = f"^{split}/labels/3.yml names files .*, looked for {split}/images/3.JPEG;"
    with pytest.raises(FileNotFoundError, match=message):
        read(make(tmp_path))


@pytest.mark.parametrize("name", ["cover.png", "01.JPEG", "-1.png"])
def test_a_name_that_is_no_number_of_its_own_is_refused(tmp_path: Path, name: str) -> None:
    write_split(tmp_path, "train", {1: [DOG]})
    write_image(tmp_path / "train" / "images" / name)
    with pytest.raises(ValueError, match=r"train/images must hold one file a number, got .*$"):
        read(make(tmp_path))


def test_a_split_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=f"^{tmp_path}/train must list images, got none$"):
        read(make(tmp_path))


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {1: [DOG]})
    message = f"^dataset.splits.test must exist, looked for {tmp_path}/test; null leaves it out$"
    with pytest.raises(FileNotFoundError, match=message):
        read(make(tmp_path, splits=("train", "test")))
    with pytest.raises(ValueError, match=r"^dataset.class_names must differ, got \['a', 'a'\]$"):
        make(tmp_path, class_names=["a", "a"])
