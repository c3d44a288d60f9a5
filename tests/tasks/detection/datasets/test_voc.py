import re
from pathlib import Path
from typing import Any

import pytest
from box_files import SIZE, common, read, rows, voc_object, voc_xml, write, write_image

from visionlab.images.holdout import Holdout
from visionlab.images.paths import path_key
from visionlab.tasks.detection.datasets.raw_boxes import RawImage
from visionlab.tasks.detection.datasets.voc import Voc, read_voc

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def make(
    root: Path,
    *,
    splits: tuple[str, ...] | dict[str, str | None] = ("train",),
    **changes: Any,
) -> Voc:
    names = splits if isinstance(splits, dict) else {split: split for split in splits}
    settings = {
        "splits": names,
        "difficult": "crowd",
        "one_based": True,
        "annotations": "Annotations",
        "images": "JPEGImages",
    }
    return Voc(**common(root, val=0.0) | settings | changes)


def read_listed(root: Path, path: Path) -> list[RawImage]:
    folders = root / "Annotations", root / "JPEGImages"
    return list(read_voc(root, *folders, list_path=path, one_based=True))


def write_split(root: Path, split: str, images: dict[str, list[str]], **changes: Any) -> Path:
    for stem, objects in images.items():
        write(root / "Annotations" / f"{stem}.xml", voc_xml(objects, **changes))
        write_image(root / "JPEGImages" / f"{stem}.jpg")
    return write(root / "ImageSets" / "Main" / f"{split}.txt", "\n".join(images) + "\n")


DOG, CAT = voc_object("dog", (2, 3, 6, 9)), voc_object("cat", (1, 1, 20, 10))


@pytest.mark.parametrize(
    ("one_based", "expected"),
    [(True, [[1, 2, 6, 9], [0, 0, 20, 10]]), (False, [[2, 3, 6, 9], [1, 1, 20, 10]])],
)
def test_the_first_pixel_is_number_one_or_nought(
    tmp_path: Path, one_based: bool, expected: list[list[float]]
) -> None:
    write_split(tmp_path, "train", {"a": [DOG, CAT]})
    (sample,) = read(make(tmp_path, one_based=one_based)).parts["train"]
    assert sample.boxes.tolist() == expected


def test_classes_are_the_sorted_names_of_train_and_ids_count_from_one(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {"b": [DOG], "a": [CAT, DOG], "c": []})
    write_split(tmp_path, "val", {"d": [DOG]})
    write_split(tmp_path, "test", {"e": []})
    found = read(make(tmp_path, splits=("train", "val", "test")))
    assert (found.class_names, found.class_ids) == (["cat", "dog"], [1, 2])
    labels = {name: [x.labels.tolist() for x in part] for name, part in found.parts.items()}
    assert labels == {"train": [[1], [0, 1], []], "val": [[1]], "test": [[]]}
    first = found.parts["train"][0]
    assert first.image == tmp_path / "JPEGImages" / "b.jpg"
    assert first.key == path_key(Path("JPEGImages/b.jpg"))
    assert (first.width_px, first.height_px) == SIZE


@pytest.mark.parametrize(
    ("difficult", "expected", "crowd"),
    [
        ("crowd", [(0, [0, 0, 5, 5]), (1, [1, 2, 6, 9])], [True, False]),
        ("keep", [(0, [0, 0, 5, 5]), (1, [1, 2, 6, 9])], [False, False]),
        ("drop", [(1, [1, 2, 6, 9])], [False]),
    ],
)
def test_difficult_objects(
    tmp_path: Path, difficult: str, expected: list[Any], crowd: list[bool]
) -> None:
    hard = voc_object("cat", (1, 1, 5, 5), difficult=1)
    write_split(tmp_path, "train", {"a": [hard, DOG]})
    found = read(make(tmp_path, difficult=difficult))
    (sample,) = found.parts["train"]
    assert found.class_names == ["cat", "dog"]
    assert rows(sample) == expected
    assert sample.crowd.tolist() == crowd


def test_dropped_objects_are_not_invalid_ones(tmp_path: Path) -> None:
    hard = voc_object("cat", (9, 9, 1, 1), difficult=1)
    write_split(tmp_path, "train", {"a": [hard, DOG]})
    assert len(read(make(tmp_path, difficult="drop")).parts["train"][0].boxes) == 1
    with pytest.raises(ValueError, match=r"a.xml: object 1 must have a width and a height above 0"):
        read(make(tmp_path))


@pytest.mark.parametrize("size", [None, (0, 0), (float("inf"), 5), SIZE])
def test_a_size_that_the_file_does_not_say_is_read_from_the_image(
    tmp_path: Path, size: tuple[float, float] | None
) -> None:
    write_split(tmp_path, "train", {"a": [DOG]}, size=size)
    (sample,) = read(make(tmp_path)).parts["train"]
    assert (sample.width_px, sample.height_px) == SIZE


def test_lists_may_have_a_second_column_and_names_may_have_spaces(tmp_path: Path) -> None:
    path = write_split(tmp_path, "train", {"a": [DOG], "b": [], "c 1": []})
    path.write_text("a  1\n\n b -1\nc 1\n")
    images = read_listed(tmp_path, path)
    assert [image.path.stem for image in images] == ["a", "b", "c 1"]


def test_images_may_have_another_suffix(tmp_path: Path) -> None:
    path = write_split(tmp_path, "train", {"a": [DOG]})
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    write_image(tmp_path / "JPEGImages" / "a.PNG")
    (image,) = read_listed(tmp_path, path)
    assert image.path == tmp_path / "JPEGImages" / "a.PNG"


def test_boxes_of_parts_of_an_object_are_not_its_own(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>4</xmin></bndbox></part>"
    path = write_split(tmp_path, "train", {"a": [DOG.replace("<name>", part + "<name>")]})
    (image,) = read_listed(tmp_path, path)
    assert [(box.category, box.corners) for box in image.boxes or ()] == [("dog", (1, 2, 6, 9))]


def test_a_class_that_train_has_not_is_refused(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {"a": [DOG]})
    write_split(tmp_path, "val", {"b": [DOG, CAT]})
    message = r"Annotations/b.xml: object 2 must be of a class of train, got 'cat'$"
    with pytest.raises(ValueError, match=message):
        read(make(tmp_path, splits=("train", "val")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must be XML, got no element found: line 1, column 0"),
        ("<a><b></a>", "must be XML, got mismatched tag"),
        ('<?xml version="1.0" encoding="nope"?><a/>', "must be XML, got"),
        (voc_xml([voc_object(" ", (1, 2, 3, 4))]), ": object 1 must have a name, got none"),
        (
            voc_xml([DOG, voc_object("dog", (1, "x", 3, 4))]),
            ": object 2 ymin must be a number, got 'x'",
        ),
        (
            voc_xml(["<object><name>dog</name></object>"]),
            ": object 1 must have a box, got none",
        ),
        (
            voc_xml([voc_object("dog", (1, "nan", 3, 4))]),
            ": object 1 must be finite, got x1, y1, x2, y2 = 0, nan, 3, 4",
        ),
        ("<a><size><width>w</width><height>1</height></size></a>", ": size must be a number"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    write_split(tmp_path, "train", {"a": [DOG]})
    path = write(tmp_path / "Annotations" / "a.xml", content)
    with pytest.raises(ValueError, match=f"^{path}.*{re.escape(message)}") as caught:
        read(make(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folder", ["Annotations", "JPEGImages"])
def test_a_missing_file_of_a_list_is_named(tmp_path: Path, folder: str) -> None:
    write_split(tmp_path, "train", {"a": [DOG], "b": []})
    path = next((tmp_path / folder).glob("b.*"))
    path.unlink()
    message = f"names files that must exist, looked for {path};"
    with pytest.raises(FileNotFoundError, match=message):
        read(make(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [("a\nb\na\n", "must list an image once, got .*a.jpg again"), ("\n", "must list images, got")],
)
def test_what_is_wrong_in_a_list_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write_split(tmp_path, "train", {"a": [DOG], "b": []})
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^{path} {message}"):
        read(make(tmp_path))


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {"a": [DOG]})
    message = r"^dataset.splits.val must exist, looked for .*Main/val.txt.*; null takes a share"
    with pytest.raises(FileNotFoundError, match=message):
        read(make(tmp_path, splits=("train", "val")))
    message = "^difficult must be one of crowd, keep, drop, got 'no'$"
    with pytest.raises(ValueError, match=message):
        make(tmp_path, difficult="no")
    with pytest.raises(ValueError, match=r"^dataset.splits must be of train, val, test, got dev$"):
        make(tmp_path, splits=("train", "dev"))
    message = r"^dataset.annotations must be a folder, looked for .*/xml; .* holds Annotations, "
    with pytest.raises(FileNotFoundError, match=message):
        read(make(tmp_path, annotations="xml"))


def test_an_object_may_have_several_boxes(tmp_path: Path) -> None:
    box = "".join(f"<{side}>{value}</{side}>" for side, value in zip(CORNERS, "3388", strict=True))
    two = DOG.replace("</object>", f"<bndbox>{box}</bndbox></object>")
    write_split(tmp_path, "train", {"a": [two, CAT]})
    (sample,) = read(make(tmp_path)).parts["train"]
    assert rows(sample) == [(1, [1, 2, 6, 9]), (1, [2, 2, 8, 8]), (0, [0, 0, 20, 10])]


def test_an_object_of_two_names_is_refused(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {"a": [DOG.replace("<name>", "<name>emu</name><name>")]})
    with pytest.raises(ValueError, match=r"a.xml: object 1 must have a name, got emu and dog"):
        read(make(tmp_path))


def test_without_a_list_train_has_every_file_that_no_list_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_split(tmp_path, "val", {"c": [DOG], "a": [DOG], "b": [DOG]})
    write(tmp_path / "ImageSets" / "Main" / "val.txt", "b\n")
    write_image(tmp_path / "JPEGImages" / "d.jpg")
    found = read(make(tmp_path, splits={"train": None, "val": "val"}))
    names = {split: [each.name for each in part] for split, part in found.parts.items()}
    assert names == {"train": ["JPEGImages/a.jpg", "JPEGImages/c.jpg"], "val": ["JPEGImages/b.jpg"]}
    assert "1 images of" in caplog.text
    held_out = read(make(tmp_path, splits={"train": None}, val=Holdout(split=0.4, seed=0)))
    assert {split: len(part) for split, part in held_out.parts.items()} == {"train": 2, "val": 1}


def test_a_part_may_be_a_folder_with_files_side_by_side(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write(tmp_path / split / f"{split} 1.xml", voc_xml([DOG]))
        write_image(tmp_path / split / f"{split} 1.png")
    splits = {"train": "train", "val": "valid"}
    found = read(make(tmp_path, splits=splits, annotations=".", images="."))
    names = {split: [each.name for each in part] for split, part in found.parts.items()}
    assert names == {"train": ["train/train 1.png"], "val": ["valid/valid 1.png"]}


def test_the_file_name_in_the_xml_counts_if_the_image_has_another_name(tmp_path: Path) -> None:
    text = voc_xml([DOG]).replace("<size>", "<filename>C:\\photos\\b.jpg</filename><size>")
    write(tmp_path / "Annotations" / "a.xml", text)
    write_image(tmp_path / "JPEGImages" / "b.jpg")
    (sample,) = read(make(tmp_path, splits={"train": None})).parts["train"]
    assert sample.name == "JPEGImages/b.jpg"
