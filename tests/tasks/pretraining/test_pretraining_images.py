"""Folders and tars of images, with and without classes."""

import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from test_view_augment import MOCO_V2

from visionlab.images.holdout import Holdout
from visionlab.task import Data
from visionlab.tasks.pretraining.datasets.images import Images


def write(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number, 16), (40 * number, 90, 10)).save(path)


def read(root: Path, **settings: Any) -> Data:
    defaults: dict[str, Any] = {
        "size_px": 8,
        "num_workers": 0,
        "skip_unreadable": False,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "val": Holdout(split=0.5, seed=0),
    }
    dataset = Images(root=str(root), **{**defaults, **settings})
    return dataset(augmentation=MOCO_V2, seed=3, device=torch.device("cpu"))


def test_a_flat_folder_has_pairs_and_no_val(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.jpg", "3.png")
    data = read(tmp_path)
    assert sorted(data.splits) == ["train", "train_plain"]
    batch = next(iter(data.splits["train"].batches(batch_size=3, epoch=0, first_batch=0)))
    assert batch.inputs.shape == (3, 2, 3, 8, 8)
    assert not torch.equal(batch.inputs[:, 0], batch.inputs[:, 1])
    assert data.sizes == {"num_images": 3}


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
