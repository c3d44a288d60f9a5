import hashlib
import json
import logging
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from box_files import SIZE, common, read, voc_object, voc_xml, write, write_coco, write_image

from visionlab.files.data_paths import existing
from visionlab.images.holdout import Holdout
from visionlab.images.parts import configured
from visionlab.images.paths import by_stem, header_size, missing_files, path_key
from visionlab.tasks.detection.datasets.annotations import Wording, annotate, with_val
from visionlab.tasks.detection.datasets.boxes_csv import BoxesCsv
from visionlab.tasks.detection.datasets.coco import Coco
from visionlab.tasks.detection.datasets.numbered_yaml import NumberedYaml
from visionlab.tasks.detection.datasets.raw_boxes import RawBox, RawImage
from visionlab.tasks.detection.datasets.voc import Voc
from visionlab.tasks.detection.datasets.yolo import Yolo
from visionlab.tasks.detection.records import Annotated

# partly outside on each side, touching the border, not a whole number of pixels
BOXES = {
    1: [("dog", (2.0, 1.0, 6.0, 9.0)), ("cat", (-3.0, -2.0, 1.0, 2.0)), ("dog", (18, 8, 25, 13))],
    2: [],
    3: [("cat", (0.0, 0.0, 20.0, 10.0)), ("dog", (3.25, 1.5, 4.0, 2.75))],
}


def raw(*corners: tuple[float, ...], key: int = 1, **changes: Any) -> RawImage:
    boxes = [
        RawBox(number, "cat", each, **changes)  # type: ignore[arg-type]
        for number, each in enumerate(corners, start=1)
    ]
    path = Path(f"{key}.png")
    return RawImage(key, path.name, path, SIZE, Path(f"{key}.xml"), boxes)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def checked(
    *images: RawImage, drop_invalid: bool = False
) -> tuple[list[Annotated], dict[str, int]]:
    return annotate(
        images,
        part=Path("part.txt"),
        labels={"dog": 0, "cat": 1},
        wording=Wording("a class of train", "object", "other numbers?"),
        drop_invalid=drop_invalid,
        num_workers=0,
    )


def records(*images: RawImage, drop_invalid: bool = False) -> list[Annotated]:
    for image in images:
        assert image.path is not None
        write_image(image.path)
    return checked(*images, drop_invalid=drop_invalid)[0]


def test_a_record_is_what_was_annotated() -> None:
    sample, empty = records(raw((1.1, 2.0, 4.1, 6.0), (0.0, 0.0, 2.0, 1.0)), raw(key=2))
    assert (sample.key, sample.image, sample.width_px, sample.height_px) == (
        1,
        Path("1.png"),
        *SIZE,
    )
    assert sample.boxes.dtype == sample.areas.dtype == torch.float64
    assert sample.boxes.tolist() == [[1.1, 2.0, 4.1, 6.0], [0.0, 0.0, 2.0, 1.0]]
    assert sample.areas.tolist() == pytest.approx([12.0, 2.0], rel=1e-12)
    assert (sample.labels.dtype, sample.labels.tolist()) == (torch.int64, [1, 1])
    assert (sample.crowd.dtype, sample.crowd.tolist()) == (torch.bool, [False, False])
    assert empty.boxes.shape == (0, 4)
    assert empty.labels.shape == empty.crowd.shape == empty.areas.shape == (0,)
    assert empty.labels.dtype == torch.int64


def test_an_area_of_its_own_and_a_crowd_are_kept() -> None:
    (sample,) = records(raw((0.0, 0.0, 2.0, 1.0), crowd=True, area=0.5))
    assert (sample.areas.tolist(), sample.crowd.tolist()) == ([0.5], [True])


@pytest.mark.parametrize(
    "corners", [(-5, -5, 0.1, 0.1), (19.9, 9.9, 30, 30), (-9, -9, 99, 99), (5, 5, 5.001, 5.001)]
)
def test_a_box_that_overlaps_its_image_stays_as_it_is(corners: tuple[float, ...]) -> None:
    assert records(raw(corners))[0].boxes.tolist() == [list(corners)]


@pytest.mark.parametrize(
    ("corners", "rule", "got"),
    [
        ((math.nan, 1, 2, 3), "must be finite", "nan, 1, 2, 3"),
        ((0, 1, math.inf, 3), "must be finite", "0, 1, inf, 3"),
        ((2, 1, 2, 3), "must have a width and a height above 0", "2, 1, 2, 3"),
        ((2, 4, 5, 3.5), "must have a width and a height above 0", "2, 4, 5, 3.5"),
        ((-4, 1, 0, 3), "must overlap its image", "-4, 1, 0, 3"),
        ((20, 1, 22, 3), "must overlap its image", "20, 1, 22, 3"),
        ((1, -3, 2, 0), "must overlap its image", "1, -3, 2, 0"),
        ((1, 10, 2, 12), "must overlap its image", "1, 10, 2, 12"),
    ],
)
def test_an_invalid_box_is_refused(corners: tuple[float, ...], rule: str, got: str) -> None:
    message = (
        f"1.xml: object 2 {rule}, got x1, y1, x2, y2 = {got} in 20x10 px; "
        "dataset.drop_invalid=true drops them"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        records(raw((0, 0, 1, 1), corners))


def test_all_invalid_boxes_of_a_part_are_counted() -> None:
    images = [raw((0, 0, 1, 1)), raw((3, 3, 3, 4), (1, 1, 2, 2), key=7), raw((0, 0, 0, 0), key=8)]
    message = r"^7.xml: object 1 .* in 20x10 px, and 1 more invalid .*; other numbers.; "
    with pytest.raises(ValueError, match=message):
        records(*images)


def test_invalid_boxes_are_dropped_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    images = [raw((0, 0, 1, 1)), raw((3, 3, 3, 4), (1, 1, 2, 2), key=7), raw((0, 0, 0, 0), key=8)]
    with caplog.at_level(logging.WARNING):
        found = records(*images, drop_invalid=True)
    assert [sample.boxes.tolist() for sample in found] == [[[0, 0, 1, 1]], [[1, 1, 2, 2]], []]
    (record,) = caplog.records
    assert record.getMessage() == (
        "dropped 2 invalid images or boxes of part.txt, the first: 7.xml: object 1 must have a "
        "width and a height above 0, got x1, y1, x2, y2 = 3, 3, 3, 4 in 20x10 px; other numbers?"
    )


def test_valid_boxes_are_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    records(raw((0, 0, 1, 1)), drop_invalid=True)
    assert not caplog.records


def test_an_unknown_class_is_refused() -> None:
    image = raw()._replace(boxes=[RawBox(4, "emu", (0, 0, 1, 1))])
    with pytest.raises(
        ValueError, match=r"^1.xml: object 4 must be of a class of train, got 'emu'"
    ):
        records(image)


def test_a_part_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^part.txt must list images, got none$"):
        records()


def test_a_share_of_train_validates_where_there_is_no_val() -> None:
    images = records(*(raw((0, 0, 1, 1), key=key) for key in range(8)))
    parts = with_val(
        {"train": images, "test": images[:1]},
        val=Holdout(split=0.25, seed=1234),
        source=Path("train.txt"),
    )
    keys = {name: [sample.key for sample in part] for name, part in parts.items()}
    assert (len(keys["train"]), len(keys["val"]), keys["test"]) == (6, 2, [0])
    assert sorted(keys["train"] + keys["val"]) == list(range(8))
    assert keys["train"] == sorted(keys["train"])
    assert keys["val"] == sorted(keys["val"])


def test_a_val_of_the_data_is_taken_as_it_is_and_a_share_of_nothing_is_none() -> None:
    images = records(*(raw((0, 0, 1, 1), key=key) for key in range(8)))
    val, source = Holdout(split=0.25, seed=1234), Path("train.txt")
    parts = with_val({"train": images, "val": images[:3]}, val=val, source=source)
    assert {name: len(part) for name, part in parts.items()} == {"train": 8, "val": 3}
    nothing = with_val({"train": images}, val=Holdout(split=0.1, seed=1), source=source)
    assert nothing.keys() == {"train"}


@pytest.mark.parametrize("image", [raw(), raw((0, 0, 1, 1), crowd=True)])
def test_a_train_without_boxes_is_refused(image: RawImage) -> None:
    message = "^train.txt must have boxes to learn from, got 1 images without$"
    with pytest.raises(ValueError, match=message):
        with_val({"train": records(image)}, val=Holdout(split=0, seed=0), source=Path("train.txt"))


def test_splits_that_are_null_are_left_out() -> None:
    splits = {"test": "c", "val": None, "train": "a"}
    assert list(configured(splits, setting="splits").items()) == [("train", "a"), ("test", "c")]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": "a", "dev": "b"}, "dataset.splits must be of train, val, test, got dev"),
        ({"val": "a"}, "dataset.splits.train must be given, got null"),
        ({"train": None}, "dataset.splits.train must be given, got null"),
    ],
)
def test_wrong_splits_are_named(splits: dict[str, str | None], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        configured(splits, setting="splits")


@pytest.mark.parametrize(
    ("split", "hint"),
    [("train", ""), ("val", "; null takes a share of train"), ("test", "; null leaves it out")],
)
def test_a_missing_file_of_a_split_is_named(tmp_path: Path, split: str, hint: str) -> None:
    path = tmp_path / "nowhere"
    message = f"^dataset.splits.{split} must exist, looked for {path}{hint}$"
    with pytest.raises(FileNotFoundError, match=message):
        existing(path, setting="splits", split=split)


def test_files_that_are_missing(tmp_path: Path) -> None:
    there, nested = (
        write_image(tmp_path / "a" / "1.png"),
        write_image(tmp_path / "b" / "c" / "1.png"),
    )
    assert missing_files([there, nested, tmp_path / "a" / ".." / "b" / "c" / "1.png"]) == []
    missing = [tmp_path / "a" / "2.png", tmp_path / "nowhere" / "1.png", tmp_path / "b" / "1.png"]
    assert missing_files([there, *missing]) == missing


def test_files_by_stem(tmp_path: Path) -> None:
    for name in ("2.PNG", "1.jpg", ".1.png", "x.txt"):
        write_image(tmp_path / "i.png").rename(tmp_path / name)
    assert by_stem(tmp_path, [".png", ".jpg"]) == {"1": "1.jpg", "2": "2.PNG"}
    assert by_stem(tmp_path / "nowhere", [".png"]) == {}
    write_image(tmp_path / "2.jpg")
    with pytest.raises(ValueError, match=r"must hold one file a name, got 2.PNG and 2.jpg$"):
        by_stem(tmp_path, [".png", ".jpg"])


def test_the_size_is_read_from_the_header(tmp_path: Path) -> None:
    assert header_size(write_image(tmp_path / "1.png", (7, 3))) == (7, 3)
    path = write(tmp_path / "2.png", "no image")
    with pytest.raises(ValueError, match=f"^{path} must be an image, got a file that cannot"):
        header_size(path)


def test_a_key_follows_from_the_path() -> None:
    digest = hashlib.blake2b(b"a/b.png", digest_size=8).digest()
    assert path_key(Path("a/b.png")) == int.from_bytes(digest, "big") >> 11 < 2**53


def coco(root: Path) -> Coco:
    ids = {"cat": 3, "dog": 7}
    found = {
        image: [(ids[name], [x1, y1, x2 - x1, y2 - y1]) for name, (x1, y1, x2, y2) in boxes]
        for image, boxes in BOXES.items()
    }
    write_coco(root / "train.json", found, names={7: "dog", 3: "cat"})
    for image in BOXES:
        write_image(root / "images" / f"{image}.png")
    splits = {"annotations": {"train": "train.json"}, "images": {"train": "images"}}
    return Coco(**common(root, val=0.0) | splits)


def voc(root: Path) -> Voc:
    for image, boxes in BOXES.items():
        objects = [voc_object(name, (x1 + 1, y1 + 1, x2, y2)) for name, (x1, y1, x2, y2) in boxes]
        write(root / "Annotations" / f"{image}.xml", voc_xml(objects))
        write_image(root / "JPEGImages" / f"{image}.jpg")
    write(root / "ImageSets" / "Main" / "train.txt", "1\n2\n3\n")
    settings = {"splits": {"train": "train"}, "difficult": "crowd", "one_based": True}
    folders = {"annotations": "Annotations", "images": "JPEGImages"}
    return Voc(**common(root, val=0.0) | settings | folders)


def numbered_yaml(root: Path) -> NumberedYaml:
    for image, boxes in BOXES.items():
        content = {"bboxes": [list(box) for _, box in boxes], "labels": [name for name, _ in boxes]}
        write(root / "training" / "labels" / f"{image}.yml", json.dumps(content))
        write_image(root / "training" / "images" / f"{image}.JPEG")
    return NumberedYaml(**common(root, val=0.0), splits={"train": "training"}, class_names=[])


def boxes_csv(root: Path) -> BoxesCsv:
    lines = []
    for image, boxes in BOXES.items():
        path = write_image(root / "images" / f"{image}.png").relative_to(root)
        lines += [f"{path},{','.join(map(str, box))},{name}" for name, box in boxes]
        lines += [] if boxes else [f"{path},,,,,"]
    write(root / "train.csv", "\n".join(lines))
    write(root / "classes.csv", "dog,1\ncat,0\n")
    settings = {"annotations": {"train": "train.csv"}, "classes": "classes.csv"}
    columns = {"images": ".", "columns": {}, "box": "xyxy"}
    return BoxesCsv(**common(root, val=0.0) | settings | columns)


def yolo(root: Path) -> Yolo:
    write(root / "data.yaml", "train: images\nnames: [cat, dog]\n")
    for image, boxes in BOXES.items():
        lines = []
        for name, (x1, y1, x2, y2) in boxes:
            sides = ((x1 + x2) / 40, (y1 + y2) / 20, (x2 - x1) / 20, (y2 - y1) / 10)
            lines.append(f"{('cat', 'dog').index(name)} {' '.join(map(repr, sides))}")
        write(root / "labels" / f"{image}.txt", "\n".join(lines))
        write_image(root / "images" / f"{image}.png")
    return Yolo(**common(root, val=0.0), file="data.yaml", splits={"train": "train"})


@pytest.mark.parametrize(
    ("make", "class_ids"),
    [(coco, [3, 7]), (voc, [1, 2]), (numbered_yaml, [0, 1]), (boxes_csv, [0, 1]), (yolo, [0, 1])],
    ids=["coco", "voc", "numbered_yaml", "boxes_csv", "yolo"],
)
def test_one_set_of_boxes_is_the_same_in_every_format(
    tmp_path: Path, make: Any, class_ids: list[int]
) -> None:
    found = read(make(tmp_path))
    assert (found.class_names, found.class_ids) == (["cat", "dog"], class_ids)
    assert found.parts.keys() == {"train"}
    assert len({sample.key for sample in found.parts["train"]}) == len(BOXES)
    for sample, boxes in zip(found.parts["train"], BOXES.values(), strict=True):
        assert isinstance(sample.image, Path)
        assert header_size(sample.image) == (sample.width_px, sample.height_px) == SIZE
        assert sample.boxes.tolist() == [pytest.approx(box, abs=1e-12) for _, box in boxes]
        assert sample.labels.tolist() == [("cat", "dog").index(name) for name, _ in boxes]
        assert sample.crowd.tolist() == [False] * len(boxes)
        areas = [(x2 - x1) * (y2 - y1) for _, (x1, y1, x2, y2) in boxes]
        assert sample.areas.tolist() == pytest.approx(areas, rel=1e-12)


@pytest.mark.parametrize("make", [coco, voc, numbered_yaml, boxes_csv, yolo])
def test_a_missing_root_is_named(tmp_path: Path, make: Any) -> None:
    recipe = make(tmp_path)
    nowhere = type(recipe)(**vars(recipe) | {"root": str(tmp_path / "nowhere")})
    message = f"^dataset.root must be a folder, looked for {tmp_path / 'nowhere'}$"
    with pytest.raises(FileNotFoundError, match=message):
        read(nowhere)
