import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from visionlab.images.holdout import Holdout
from visionlab.task import Batch, Data
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.datasets.image_folder import ImageFolder


def write_image(path: Path) -> None:
    """Write an image whose pixels follow from its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:4], "big")
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_classes(root: Path, counts: dict[str, int], prefix: str = "") -> None:
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            write_image(root / name / f"{prefix}{name}_{number}.png")


def build(root: Path, *, val: float = 0.25, test: float = 0.2, **changes: Any) -> Data:
    settings: dict[str, Any] = {
        "root": str(root),
        "class_names": None,
        "size_px": 6,
        "num_workers": 0,
        "skip_unreadable": False,
        "val": Holdout(split=val, seed=1234),
        "test": Holdout(split=test, seed=1234),
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
    }
    augmentation = Augment(pad_px=0, flip_prob=0.0, cutout_px=0)
    dataset = ImageFolder(**settings | changes)
    return dataset(augmentation=augmentation, seed=3, device=torch.device("cpu"))


def whole(data: Data, split: str) -> Batch:
    size = len(data.splits[split])
    return next(data.splits[split].batches(batch_size=size, epoch=0, first_batch=0))


def sizes(data: Data) -> dict[str, int]:
    return {name: len(split) for name, split in data.splits.items()}


def by_key(data: Data) -> dict[int, tuple[Tensor, int]]:
    """Return image and label of every sample of all splits."""
    found: dict[int, tuple[Tensor, int]] = {}
    for name in data.splits.keys() - {"train_plain"}:
        batch = whole(data, name)
        for key, image, label in zip(*(batch.keys, batch.inputs, batch.targets), strict=True):
            assert int(key) not in found
            found[int(key)] = image, int(label)
    return found


def key_of(path: str) -> int:
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "big") >> 11


def test_folders_of_splits_are_taken_as_they_are(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"cat": 5, "dog": 4})
    write_classes(tmp_path / "val", {"cat": 2, "dog": 1})
    write_classes(tmp_path / "test", {"dog": 3})
    data = build(tmp_path)
    assert sizes(data) == {"train": 9, "train_plain": 9, "val": 3, "test": 3}
    assert list(data.class_names) == ["cat", "dog"]
    assert data.sizes == {"num_classes": 2}
    assert whole(data, "train_plain").targets.tolist() == [0] * 5 + [1] * 4
    assert whole(data, "val").targets.tolist() == [0, 0, 1]
    assert whole(data, "test").targets.tolist() == [1, 1, 1]
    assert whole(data, "test").keys.tolist() == [key_of(f"test/dog/dog_{i}.png") for i in range(3)]


def test_shares_of_one_folder_are_disjoint_and_complete(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 12, "dog": 8})
    data = build(tmp_path)
    assert sizes(data) == {"train": 12, "train_plain": 12, "val": 4, "test": 4}
    names = [f"{name}/{name}_{i}.png" for name, n in (("cat", 12), ("dog", 8)) for i in range(n)]
    found = by_key(data)
    assert sorted(found) == sorted(key_of(name) for name in names)
    assert all(found[key_of(name)][1] == name.startswith("dog") for name in names)
    assert torch.equal(
        whole(data, "train_plain").keys.sort()[0], whole(data, "train").keys.sort()[0]
    )


def test_shares_are_read_in_the_order_on_disk(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 9, "dog": 9})
    data = build(tmp_path)
    on_disk = [key_of(f"{name}/{name}_{i}.png") for name in ("cat", "dog") for i in range(9)]
    for name in ("train_plain", "val", "test"):
        keys = whole(data, name).keys.tolist()
        assert keys == [key for key in on_disk if key in keys]


def test_the_test_share_is_drawn_first_so_that_val_does_not_move_it(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 12, "dog": 8})
    few, many = build(tmp_path, val=0.1), build(tmp_path, val=0.5)
    assert whole(few, "test").keys.tolist() == whole(many, "test").keys.tolist()
    assert (len(few.splits["val"]), len(many.splits["val"])) == (1, 8)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["val", "test"], {"train": 20, "val": 3, "test": 3}),
        (["val"], {"train": 20, "val": 3}),  # whoever made two parts has no third in mind
        (["test"], {"train": 15, "val": 5, "test": 3}),
        ([], {"train": 12, "val": 4, "test": 4}),
    ],
)
def test_parts_without_a_folder_are_shares_and_said(
    tmp_path: Path, folders: list[str], expected: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    write_classes(tmp_path / "train", {"cat": 12, "dog": 8})
    for name in folders:
        write_classes(tmp_path / name, {"cat": 3})
    with caplog.at_level(logging.INFO):
        found = sizes(build(tmp_path))
    assert found == expected | {"train_plain": expected["train"]}
    said = {name for name in ("val", "test") if f"{name} is a share of train" in caplog.text}
    assert said == {*expected} - {*folders, "train"}
    assert ("no test split" in caplog.text) == (folders == ["val"])


def test_shares_of_zero_are_no_splits(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 3, "dog": 2})
    assert sizes(build(tmp_path, val=0.0, test=0.0)) == {"train": 5, "train_plain": 5}


@pytest.mark.parametrize("layout", ["", "train"])
def test_a_new_file_changes_neither_key_nor_image_nor_label_of_the_others(
    tmp_path: Path, layout: str
) -> None:
    write_classes(tmp_path / layout, {"cat": 6, "dog": 4})
    before = by_key(build(tmp_path))
    write_classes(tmp_path / layout, {"cat": 2, "dog": 1}, prefix="a_new_")
    after = by_key(build(tmp_path))
    assert (len(before), len(after)) == (10, 13)
    for key, (image, label) in before.items():
        assert torch.equal(after[key][0], image)
        assert after[key][1] == label


def test_keys_follow_from_the_path_below_the_root(tmp_path: Path) -> None:
    for place in ("here", "there/and/elsewhere"):
        write_classes(tmp_path / place, {"cat": 3, "dog": 1})
    here, there = build(tmp_path / "here"), build(tmp_path / "there/and/elsewhere")
    assert by_key(here).keys() == by_key(there).keys()
    assert key_of("cat/cat_0.png") == 3426936357032600
    assert 3426936357032600 in by_key(here)


def test_images_in_folders_below_a_class_and_upper_case_suffixes_count(tmp_path: Path) -> None:
    write_image(tmp_path / "cat" / "deep" / "one.png")
    write_image(tmp_path / "cat" / "TWO.JPEG")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "dog").mkdir()
    data = build(tmp_path, val=0.0, test=0.0)
    assert sorted(by_key(data)) == sorted([key_of("cat/deep/one.png"), key_of("cat/TWO.JPEG")])


def test_pixels_are_normalised_with_mean_and_std(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 2, "dog": 0})
    plain = build(tmp_path, val=0.0, test=0.0)
    mean, std = [0.1, 0.2, 0.3], [0.5, 2.0, 4.0]
    normalised = build(tmp_path, val=0.0, test=0.0, mean=mean, std=std)
    shifted = whole(plain, "train_plain").inputs - torch.tensor(mean)[:, None, None]
    expected = shifted / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(whole(normalised, "train_plain").inputs, expected)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(tmp_path: Path, num_workers: int) -> None:
    write_classes(tmp_path, {"cat": 6, "dog": 5})
    alone = build(tmp_path)
    helped = build(tmp_path, num_workers=num_workers)
    for name, split in alone.splits.items():
        expected = list(split.batches(batch_size=2, epoch=1, first_batch=1))
        found = list(helped.splits[name].batches(batch_size=2, epoch=1, first_batch=1))
        assert [batch.keys.tolist() for batch in found] == [b.keys.tolist() for b in expected]
        for ours, theirs in zip(found, expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours[:3], theirs[:3], strict=True))


def test_skipped_files_of_all_splits_are_listed_once(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"cat": 4, "dog": 0})
    write_classes(tmp_path / "val", {"cat": 2})
    damaged = [tmp_path / "train" / "cat" / "cat_2.png", tmp_path / "val" / "cat" / "cat_0.png"]
    for path in damaged:
        path.write_bytes(b"")
    data = build(tmp_path, test=0.0, skip_unreadable=True)
    counts = [len(whole(data, name).keys) for name in ("train", "train_plain", "val", "val")]
    assert counts == [3, 3, 1, 1]
    assert data.unreadable == [str(path) for path in damaged]


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    message = f"dataset.root must be a folder, looked for {tmp_path / 'nowhere'}"
    with pytest.raises(FileNotFoundError, match=message):
        build(tmp_path / "nowhere")


@pytest.mark.parametrize("folder", ["", "train", "val"])
def test_a_folder_without_classes_is_named(tmp_path: Path, folder: str) -> None:
    if folder == "val":
        write_classes(tmp_path / "train", {"cat": 2, "dog": 0})
    write_image(tmp_path / folder / "lonely.png")
    message = f"one folder of images a class, found none in {tmp_path / folder}$"
    with pytest.raises(FileNotFoundError, match=message):
        build(tmp_path)


def test_classes_without_a_single_image_are_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 0, "dog": 0})
    message = f"dataset.root must hold images, found none in {tmp_path}"
    with pytest.raises(FileNotFoundError, match=message):
        build(tmp_path)


def test_one_class_without_images_keeps_its_label(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 2, "dog": 0, "fox": 2})
    data = build(tmp_path, val=0.0, test=0.0)
    assert list(data.class_names) == ["cat", "dog", "fox"]
    assert whole(data, "train_plain").targets.tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_class_that_train_has_not_is_refused(tmp_path: Path, part: str) -> None:
    write_classes(tmp_path / "train", {"cat": 2, "dog": 1})
    write_classes(tmp_path / part, {"cat": 1, "emu": 1, "asp": 1})
    message = f"{tmp_path / part} must hold classes of train only, got asp, emu"
    with pytest.raises(ValueError, match=message):
        build(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_px": 0}, "size_px must be >= 1, got 0"),
        ({"num_workers": -1}, "num_workers must be >= 0, got -1"),
        ({"mean": [0.5]}, r"dataset.mean must have 3 values, got \[0.5\]"),
        ({"std": [1.0, 1.0, 0.0]}, r"dataset.std must be in \[1e-06, 255\], got \[1.0, 1.0, 0.0\]"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_classes(tmp_path, {"cat": 2, "dog": 0})
    with pytest.raises(ValueError, match=message):
        build(tmp_path, **changes)


def test_readable_class_names(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"n01": 2, "n02": 1})
    (tmp_path / "names.txt").write_text("n02 wild dog\nn01 cat\n")
    data = build(tmp_path, class_names="names.txt")
    assert list(data.class_names) == ["cat", "wild dog"]
