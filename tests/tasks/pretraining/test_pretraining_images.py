"""Folders and tars of images, with and without classes."""

import tarfile
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch
from PIL import Image
from test_view_augment import MOCO_V2

from visionlab.images.holdout import Holdout
from visionlab.images.paths import path_key
from visionlab.task import Data
from visionlab.tasks.pretraining.augment import ViewAugment
from visionlab.tasks.pretraining.datasets.images import Images


def write(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number, 16), (40 * number, 90, 10)).save(path)


def read(root: Path, *, augmentation: ViewAugment = MOCO_V2, **settings: Any) -> Data:
    defaults: dict[str, Any] = {
        "folder": None,
        "listed_in": None,
        "size_px": 8,
        "num_workers": 0,
        "boxes": None,
        "skip_unreadable": False,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "val": Holdout(split=0.5, seed=0),
    }
    dataset = Images(root=str(root), **{**defaults, **settings})
    return dataset(augmentation=augmentation, seed=3, device=torch.device("cpu"))


def test_a_flat_folder_has_pairs_and_no_val(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.jpg", "3.png")
    data = read(tmp_path)
    assert sorted(data.splits) == ["train", "train_plain"]
    batch = next(iter(data.splits["train"].batches(batch_size=3, epoch=0, first_batch=0)))
    assert batch.inputs.shape == (3, 2, 3, 8, 8)
    assert not torch.equal(batch.inputs[:, 0], batch.inputs[:, 1])
    assert data.sizes == {"num_images": 3, "size_px": 8}


def test_folders_of_classes_give_labels_and_a_share_for_val(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png", "dog/3.png")
    data = read(tmp_path)
    assert list(data.class_names) == ["cat", "dog"]
    assert (len(data.splits["train"]), len(data.splits["val"])) == (2, 2)
    assert data.splits["val"].bank is data.splits["train"].bank is not None


def test_a_train_folder_with_one_folder_inside_is_unlabelled(tmp_path: Path) -> None:
    write(tmp_path, "train/unlabeled/0.PNG", "train/unlabeled/1.PNG", "val/cat/2.png")
    data = read(tmp_path)
    assert len(data.splits["train"]) == 2
    assert "val" not in data.splits


def test_a_tar_equals_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "all", "cat/1.png", "cat/2.png", "dog/1.png", "dog/3.png")
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        tar.add(tmp_path / "all", arcname=".")
    ours, theirs = read(tmp_path / "all.tar"), read(tmp_path / "all")
    one, other = (
        next(iter(each.splits["train"].batches(batch_size=2, epoch=1, first_batch=0)))
        for each in (ours, theirs)
    )
    assert torch.equal(one.inputs, other.inputs)
    assert torch.equal(one.keys, other.keys)


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^dataset.root must hold images, found none"):
        read(tmp_path)
    write(tmp_path, "1.png")
    with pytest.raises(ValueError, match=r"^dataset must hold at least 2 .*, got 1"):
        read(tmp_path)


GEOMETRY_ALONE = replace(
    MOCO_V2,
    crop_area=[1, 1],
    crop_ratio=[0.01, 100],
    colours=replace(MOCO_V2.colours, jitter_prob=0, grey_prob=0, blur_prob=0),
)


def views_of(data: Data, *, epoch: int) -> dict[int, torch.Tensor]:
    """Return the two views of each image by key, (2, 3, 8, 8) as pixels in [0, 1]."""
    (batch,) = data.splits["train"].batches(batch_size=9, epoch=epoch, first_batch=0)
    pixels = data.to_pixels(batch.inputs.flatten(0, 1)).unflatten(0, (-1, 2))
    return dict(zip(batch.keys.tolist(), pixels, strict=True))


def test_both_views_show_the_same_box_of_an_image(tmp_path: Path) -> None:
    write(tmp_path / "all", "a.png", "b.png")
    quarters = Image.new("RGB", (60, 40))
    for column, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        quarters.paste(colour, (20 * column, 0, 20 * column + 20, 40))
    quarters.save(tmp_path / "all" / "thirds.png")
    boxes = tmp_path / "boxes.txt"
    boxes.write_text("thirds 0.1,0.1,0.3,0.9 0.7,0.25,0.95,0.75\na.png\n")
    data = read(tmp_path / "all", augmentation=GEOMETRY_ALONE, boxes=str(boxes))
    assert data.read_counts == {str(boxes): {"images with boxes": 1, "without, seen whole": 2}}
    key = path_key(PurePosixPath("thirds.png"))
    seen = set()
    for epoch in range(12):
        views = views_of(data, epoch=epoch)
        colours = views[key].flatten(2).unique(dim=2)
        assert colours.shape == (2, 3, 1)
        assert torch.equal(*colours)
        seen.add(tuple(colours[0, :, 0].round().tolist()))
    assert seen == {(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)}


def test_an_image_without_boxes_is_cropped_as_without_the_file(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        noise = torch.randint(0, 256, (40, 60, 3), dtype=torch.uint8)
        (tmp_path / "all").mkdir(exist_ok=True)
        Image.fromarray(noise.numpy()).save(tmp_path / "all" / name)
    (tmp_path / "boxes.txt").write_text("a.png 0.1,0.1,0.7,0.7\nb.png\n")
    plain, boxed = (
        views_of(read(tmp_path / "all", boxes=boxes, size_px=16), epoch=3)
        for boxes in (None, str(tmp_path / "boxes.txt"))
    )
    same = {key for key in plain if torch.equal(plain[key], boxed[key])}
    assert same == {path_key(PurePosixPath(name)) for name in ("b.png", "c.png")}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.json", '{"images": [{"file_name": "d.png"}, {"file_name": "deep\\\\b.png"}]}'),
        ("train.txt", "d\r\ndeep/b.png\n\n"),
    ],
)
def test_a_file_may_list_the_images(tmp_path: Path, name: str, content: str) -> None:
    write(tmp_path / "images", "a.png", "deep/b.png", "other/c.png", "d.png")
    (tmp_path / name).write_text(content)
    data = read(tmp_path, folder="images", listed_in=name)
    assert [Path(str(source)).name for source in data.splits["train"].samples.sources] == [
        "d.png",
        "b.png",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb\nz\n", r"list.txt .* 'z' \(1 unknown"),
        ("\n", "list.txt .* none"),
        (None, "listed_in .*list.txt"),
    ],
)
def test_a_list_must_name_images(tmp_path: Path, content: str | None, message: str) -> None:
    write(tmp_path / "images", "a.png", "b.png")
    if content is not None:
        (tmp_path / "list.txt").write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read(tmp_path, folder="images", listed_in="list.txt")


def test_a_json_list_must_be_of_coco(tmp_path: Path) -> None:
    write(tmp_path / "images", "a.png", "b.png")
    for content in ("[]", '{"images": [{"id": 1}]}', '{"images": [{"file_name": 3}]}', "{"):
        (tmp_path / "list.json").write_text(content)
        with pytest.raises(ValueError, match=r"list\.json"):
            read(tmp_path, folder="images", listed_in="list.json")
