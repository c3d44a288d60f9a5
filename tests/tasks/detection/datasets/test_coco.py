import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from box_files import AUGMENTATION, SIZE, common, read, rows, write, write_coco, write_image

from visionlab.tasks.detection.datasets.annotations import Wording, annotate
from visionlab.tasks.detection.datasets.coco import Coco, read_coco
from visionlab.tasks.detection.datasets.raw_boxes import RawImage
from visionlab.tasks.detection.records import Annotated

NAMES = {9: "dog", 4: "cat"}
ONE = {1: [(4, [1, 2, 3, 4])]}


def make(root: Path, *, splits: tuple[str, ...] = ("train",), **changes: Any) -> Coco:
    settings = {
        "annotations": {split: f"{split}.json" for split in splits},
        "images": {split: f"images/{split}" for split in splits},
    }
    return Coco(**common(root) | settings | changes)


def write_split(root: Path, split: str, num_images: int = 4, **changes: Any) -> None:
    boxes = {number: [(4, [1, 2, 3, 4])] for number in range(1, num_images + 1)}
    write_coco(root / f"{split}.json", boxes, **{"names": NAMES} | changes)
    for number in boxes:
        write_image(root / "images" / split / f"{number}.png")


def part(
    root: Path, boxes: Any = ONE, *, optional: bool = False, **changes: Any
) -> list[Annotated]:
    path = write_coco(root / "a.json", boxes, **{"names": NAMES} | changes)
    for number in boxes:
        write_image(root / f"{number}.png")
    images, _ = read_coco(path, root, annotations_optional=optional)
    return checked(images, path)


def checked(images: list[RawImage], path: Path) -> list[Annotated]:
    return annotate(
        images,
        part=path,
        labels={"cat": 0, "dog": 1},
        wording=Wording("a category of the file", "annotation", "corners?"),
        drop_invalid=False,
        num_workers=0,
    )[0]


def annotation(**changes: Any) -> list[dict[str, Any]]:
    return [{"id": 5, "image_id": 1, "category_id": 4, "bbox": [1, 2, 3, 4]} | changes]


def image(**changes: Any) -> list[dict[str, Any]]:
    return [{"id": 1, "file_name": "1.png", "width": 20, "height": 10} | changes]


def test_labels_are_the_ranks_of_any_category_ids(tmp_path: Path) -> None:
    found = part(tmp_path, {7: [(9, [1, 2, 3, 4]), (4, [0, 0, 5, 6])], 3: []})
    assert [sample.key for sample in found] == [7, 3]
    assert rows(found[0]) == [(1, [1, 2, 4, 6]), (0, [0, 0, 5, 6])]
    assert rows(found[1]) == []
    assert found[0].image == tmp_path / "7.png"


def test_no_box_changes_the_corners_of_the_others(tmp_path: Path) -> None:
    boxes = [[0, 0, 1, 1], [2, 3, 4, 5], [10, 5, 7, 2]]
    found = part(tmp_path, {1: [(4, bbox) for bbox in boxes]})
    assert found[0].boxes.tolist() == [[0, 0, 1, 1], [2, 3, 6, 8], [10, 5, 17, 7]]


def test_annotations_need_not_be_in_the_order_of_the_images(tmp_path: Path) -> None:
    annotations = [
        {"id": 3, "image_id": 2, "category_id": 9, "bbox": [0, 0, 1, 1]},
        {"id": 2, "image_id": 1, "category_id": 4, "bbox": [0, 0, 2, 2]},
        {"id": 1, "image_id": 2, "category_id": 4, "bbox": [0, 0, 3, 3]},
    ]
    first, second = part(tmp_path, {1: [], 2: []}, annotations=annotations)
    assert rows(first) == [(0, [0, 0, 2, 2])]
    assert rows(second) == [(1, [0, 0, 1, 1]), (0, [0, 0, 3, 3])]


def test_crowds_and_areas_are_those_of_the_file(tmp_path: Path) -> None:
    annotations = [
        *annotation(iscrowd=1, area=2.5),
        *annotation(id=6, iscrowd=0, area=None),
        *annotation(id=7, bbox=[0.1, 0.1, 0.3, 0.3]),
    ]
    (sample,) = part(tmp_path, annotations=annotations)
    assert sample.crowd.tolist() == [True, False, False]
    assert sample.areas.tolist() == [2.5, 12.0, 0.3 * 0.3]


def test_a_size_that_is_not_in_the_file_is_read_from_the_image(tmp_path: Path) -> None:
    (sample,) = part(tmp_path, images=[{"id": 1, "file_name": "1.png"}])
    assert (sample.width_px, sample.height_px) == SIZE
    (sample,) = part(tmp_path, images=image(width=20.0, height=10))
    assert (sample.width_px, sample.height_px) == SIZE
    assert type(sample.width_px) is int


def test_images_may_lie_in_other_folders(tmp_path: Path) -> None:
    write_image(tmp_path / "deep" / "1.png")
    (sample,) = part(tmp_path, images=image(file_name="deep/../deep/1.png"))
    assert sample.image == tmp_path / "deep/../deep/1.png"


def test_a_test_part_may_lack_annotations(tmp_path: Path) -> None:
    found = part(tmp_path, {1: [], 2: []}, optional=True, annotations=None)
    assert [rows(sample) for sample in found] == [[], []]
    with pytest.raises(ValueError, match=r"must have a list of annotations, got images, categ"):
        part(tmp_path, {1: [], 2: []}, annotations=None)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"images": None}, "must have a list of images, got annotations, categories"),
        ({"categories": None}, "must have a list of categories, got images, annotations"),
        ({"annotations": 3}, "must have a list of annotations, got 3"),
        ({"images": [], "annotations": []}, "must list images, got none"),
        ({"images": [7]}, ": images[0] must be an object, got 7"),
        ({"images": [{"id": 1}]}, ": images[0] must have file_name, got id"),
        ({"images": [{}]}, ": images[0] must have id, got no key"),
        ({"images": image(id="1")}, ": images[0].id must be an integer of 64 bits, got '1'"),
        ({"images": image(id=2**63)}, ": images[0].id must be an integer of 64 bits, got 92233"),
        ({"images": image(file_name="")}, ": images[0].file_name must be a name, got ''"),
        ({"images": image(width=0)}, ": images[0].width must be a whole number of pixels, got 0"),
        ({"images": image(height=1.5)}, ".height must be a whole number of pixels, got 1.5"),
        ({"images": image() * 2}, ": images[1] must have an id of its own, got 1 again"),
        ({"annotations": annotation() * 2}, ": annotations[1] must have an id of its own, got 5"),
        (
            {"annotations": [{"id": 5, "image_id": 1, "bbox": [1, 2, 3, 4]}]},
            ": annotations[0] must have category_id, got id, image_id, bbox",
        ),
        (
            {"annotations": annotation(image_id=8)},
            ": annotation 5 must have the id of an image, got image_id 8",
        ),
        (
            {"annotations": annotation(category_id=1)},
            ": annotation 5 must be of a category of the file, got 1",
        ),
        (
            {"annotations": annotation(category_id=[4])},
            ".category_id must be an integer of 64 bits, got [4]",
        ),
        (
            {"annotations": annotation(bbox=[1, 2, 3])},
            ": annotations[0].bbox must be 4 numbers x, y, width, height, or empty, got ",
        ),
        ({"annotations": annotation(bbox=[1, 2, 3, "4"])}, "got [1, 2, 3, '4']"),
        ({"annotations": annotation(bbox=[1, 2, 3, True])}, "got [1, 2, 3, True]"),
        ({"annotations": annotation(bbox=[1, 2, 3, 10**400])}, "must be 4 numbers"),
        ({"annotations": annotation(bbox=None)}, "annotation 5 must have a box, got none"),
        ({"annotations": annotation(area=-1)}, ".area must be a finite number >= 0, got -1"),
        ({"annotations": annotation(area=float("nan"))}, ".area must be a finite number >= 0"),
        ({"annotations": annotation(iscrowd=2)}, ".iscrowd must be 0 or 1, got 2"),
        (
            {"annotations": annotation(bbox=[1, 2, -3, 4])},
            ": annotation 5 must have a width and a height above 0, "
            "got x1, y1, x2, y2 = 1, 2, -2, 6 in 20x10 px; dataset.drop_invalid=true drops them",
        ),
        ({"annotations": annotation(bbox=[1, 2, float("nan"), 4])}, "annotation 5 must be finite"),
        ({"annotations": annotation(bbox=[21, 2, 3, 4])}, "annotation 5 must overlap its image"),
        ({"categories": [{"id": 4}]}, ": categories[0] must have name, got id"),
        ({"categories": [{"id": 4, "name": 3}]}, ": categories[0].name must be a name, got 3"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        part(tmp_path, **sections)
    assert str(caught.value).startswith(str(tmp_path / "a.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"images": \xff}', "[" * 10**5])
def test_a_file_that_is_no_json_object_is_named(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.json", text)
    with pytest.raises(ValueError, match=f"^{path} must (be JSON|hold an object), got .*$"):
        read_coco(path, tmp_path, annotations_optional=False)


def test_missing_images_are_named(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a.json", {1: [], 2: [], 3: []}, names=NAMES)
    write_image(tmp_path / "1.png")
    message = f"^{path} names files that must exist, looked for {tmp_path / '2.png'}, and 1 more "
    images, _ = read_coco(path, tmp_path, annotations_optional=False)
    with pytest.raises(FileNotFoundError, match=message):
        checked(images, path)


def test_the_recipe_reads_every_split(tmp_path: Path) -> None:
    for split, num_images in (("train", 4), ("val", 2), ("test", 3)):
        write_split(tmp_path, split, num_images)
    found = read(make(tmp_path, splits=("train", "val", "test")))
    assert {name: len(part) for name, part in found.parts.items()} == {
        "train": 4,
        "val": 2,
        "test": 3,
    }
    assert (found.class_names, found.class_ids) == (["cat", "dog"], [4, 9])
    assert found.parts["val"][1].image == tmp_path / "images" / "val" / "2.png"


def test_without_val_a_share_of_train_validates(tmp_path: Path) -> None:
    write_split(tmp_path, "train", 8)
    found = read(make(tmp_path, annotations={"train": "train.json", "val": None, "test": None}))
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 6, "val": 2}


def test_only_a_test_split_may_lack_annotations(tmp_path: Path) -> None:
    write_split(tmp_path, "train")
    for split in ("val", "test"):
        write_split(tmp_path, split, annotations=None)
    assert len(read(make(tmp_path, splits=("train", "test"))).parts["test"]) == 4
    with pytest.raises(ValueError, match=r"val.json must have a list of annotations"):
        read(make(tmp_path, splits=("train", "val")))


@pytest.mark.parametrize(
    ("names", "got"),
    [
        ({4: "cat"}, "none for id 9, which is dog there"),
        ({4: "cat", 9: "fox"}, "fox for id 9, which is dog there"),
        ({4: "cat", 9: "dog", 10: "emu"}, "emu for id 10, which is none there"),
    ],
)
def test_splits_must_have_the_categories_of_train(
    tmp_path: Path, names: dict[int, str], got: str
) -> None:
    write_split(tmp_path, "train")
    write_split(tmp_path, "val", names=names)
    message = f"^{tmp_path}/val.json must have the categories of {tmp_path}/train.json, got {got}$"
    with pytest.raises(ValueError, match=message):
        read(make(tmp_path, splits=("train", "val")))


def test_what_is_configured_must_exist(tmp_path: Path) -> None:
    write_split(tmp_path, "train")
    message = r"^dataset.annotations.test must exist, looked for .*/test.json; null leaves it out$"
    with pytest.raises(FileNotFoundError, match=message):
        read(make(tmp_path, splits=("train", "test")))
    with pytest.raises(FileNotFoundError, match=r"^dataset.images.train must exist, looked for"):
        read(make(tmp_path, images={"train": "nowhere"}))
    with pytest.raises(ValueError, match=r"^dataset.images.train must be given, got null$"):
        make(tmp_path, images={"train": None})
    with pytest.raises(ValueError, match=r"^dataset.annotations must be of .* got dev$"):
        make(tmp_path, annotations={"train": "train.json", "dev": "dev.json"})


def test_a_train_without_boxes_is_refused(tmp_path: Path) -> None:
    write_split(tmp_path, "train", annotations=[])
    with pytest.raises(ValueError, match=r"train.json must have boxes to learn from, got 3 images"):
        read(make(tmp_path))


def test_invalid_boxes_are_dropped_on_demand(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = annotation(bbox=[0, 0, 0, 1]) + annotation(id=6)
    write_split(tmp_path, "train", 1, annotations=bad)
    found = read(make(tmp_path, drop_invalid=True))
    assert rows(found.parts["train"][0]) == [(0, [1, 2, 4, 6])]
    assert "dropped 1 invalid images or boxes of" in caplog.text
    assert json.loads((tmp_path / "train.json").read_text())["annotations"] == bad


def test_the_splits_are_made_of_what_was_read(tmp_path: Path) -> None:
    write_split(tmp_path, "train", 8)
    data = make(tmp_path)(augmentation=AUGMENTATION, seed=3, device=torch.device("cpu"))
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sizes == {"train": 6, "train_plain": 6, "val": 2}
    assert (list(data.class_names), list(data.class_ids)) == (["cat", "dog"], [4, 9])
    batch = next(data.splits["val"].batches(batch_size=2, epoch=0, first_batch=0))
    held_out = read(make(tmp_path)).parts["val"]
    assert batch.keys.tolist() == [sample.key for sample in held_out]
    assert batch.targets.labels.tolist() == [[0], [0]]


def test_backslashes_in_file_names_are_slashes(tmp_path: Path) -> None:
    image = write_image(tmp_path / "images" / "sub" / "1.png")
    entry = {"id": 1, "file_name": "sub\\1.png", "width": 20, "height": 10}
    content = {"images": [entry], "categories": [], "annotations": []}
    path = write(tmp_path / "a.json", json.dumps(content))
    ((found,), _) = read_coco(path, tmp_path / "images", annotations_optional=False)
    assert found.path == image
