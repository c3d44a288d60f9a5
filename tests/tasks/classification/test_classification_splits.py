from typing import Any

import pytest
import torch
from torch import Tensor

from visionlab.images.holdout import Holdout
from visionlab.images.normalise import ImageDataset, normalisation_tensor, normalise
from visionlab.task import Batch, Data
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.records import LabelledImages
from visionlab.tasks.classification.splits import ClassificationDataset, check_labels, in_memory

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
TRAIN = LabelledImages(
    torch.arange(20 * 3 * 4 * 5).reshape(20, 3, 4, 5).to(torch.uint8), torch.arange(20) % 3
)
TEST = LabelledImages(TRAIN.images[:6] // 2, TRAIN.labels[:6])


def build(**changes: Any) -> Data:
    fields: dict[str, Any] = {"val": Holdout(split=0.25, seed=3), "mean": MEAN, "std": STD}
    fields |= {name: changes.pop(name) for name in fields.keys() & changes}
    settings: dict[str, Any] = {
        "train": TRAIN,
        "test": TEST,
        "class_names": ["cat", "dog", "fox"],
        "dataset": ClassificationDataset(**fields),
        "augmentation": Augment(pad_px=2, flip_prob=0.5, cutout_px=0),
        "seed": 7,
        "device": torch.device("cpu"),
    }
    settings |= changes
    return in_memory(settings.pop("train"), settings.pop("test"), **settings)


def whole(data: Data, split: str, epoch: int = 0) -> Batch:
    size = len(data.splits[split])
    return next(data.splits[split].batches(batch_size=size, epoch=epoch, first_batch=0))


def test_splits_share_the_samples_as_held_out() -> None:
    data = build()
    train_rows, val_rows = Holdout(split=0.25, seed=3).rows(20)
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 15,
        "train_plain": 15,
        "val": 5,
        "test": 6,
    }
    assert whole(data, "val").keys.tolist() == val_rows.tolist()
    assert whole(data, "train_plain").keys.tolist() == train_rows.tolist()
    assert sorted(whole(data, "train").keys.tolist()) == sorted(train_rows.tolist())
    assert whole(data, "test").keys.tolist() == list(range(6))


def test_without_a_held_out_share_there_is_no_val() -> None:
    data = build(val=Holdout(split=0.0, seed=3))
    assert sorted(data.splits) == ["test", "train", "train_plain"]
    assert len(data.splits["train"]) == 20


@pytest.mark.parametrize(
    ("split", "source"), [("train_plain", TRAIN), ("val", TRAIN), ("test", TEST)]
)
def test_plain_splits_are_the_normalised_images_without_a_border(
    split: str, source: LabelledImages
) -> None:
    batch = whole(build(), split)
    expected = normalise(source.images[batch.keys], torch.tensor([MEAN, STD]))
    assert torch.equal(batch.inputs, expected)
    assert torch.equal(batch.targets, source.labels[batch.keys])


def test_only_train_is_shuffled_and_augmented_anew_each_epoch() -> None:
    data = build()
    for split in ("train_plain", "val", "test"):
        first, second = whole(data, split, epoch=0), whole(data, split, epoch=1)
        assert torch.equal(first.inputs, second.inputs)
        assert torch.equal(first.keys, second.keys)
    first, second = whole(data, "train", epoch=0), whole(data, "train", epoch=1)
    assert first.keys.tolist() != second.keys.tolist()
    assert not torch.equal(first.inputs[first.keys.sort()[1]], second.inputs[second.keys.sort()[1]])


def test_a_data_set_says_its_classes() -> None:
    data = build()
    assert data.sizes == {"num_classes": 3}
    assert list(data.class_names) == ["cat", "dog", "fox"]
    assert data.unreadable == []


@pytest.mark.parametrize("part", ["train", "test"])
def test_labels_of_both_parts_are_checked(part: str) -> None:
    images, labels = (TRAIN if part == "train" else TEST)[:]
    wrong = labels.clone()
    wrong[4] = 3
    with pytest.raises(ValueError, match=r"labels must be in \[0, 3\), got 3 at sample 4"):
        build(**{part: LabelledImages(images, wrong)})


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_empty_part_is_refused(part: str) -> None:
    empty = LabelledImages(TRAIN.images[:0], TRAIN.labels[:0])
    with pytest.raises(ValueError, match="a data set must hold at least one image, got 0"):
        build(**{part: empty})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 9, 10], r"labels must be in \[0, 10\), got 10 at sample 2 \(1 such labels\)"),
        ([0, -1, 10, 3], r"labels must be in \[0, 10\), got -1 at sample 1 \(2 such labels\)"),
        ([], "a data set must hold at least one image, got 0"),
    ],
)
def test_wrong_labels_are_named_and_counted(labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_labels(torch.tensor(labels, dtype=torch.int64), num_classes=10)


def test_labels_at_both_ends_of_the_range_pass() -> None:
    check_labels(torch.tensor([0, 9]), num_classes=10)


def test_normalisation_is_mean_above_standard_deviation() -> None:
    tensor: Tensor = normalisation_tensor(
        ImageDataset(mean=[0.5, 0.25], std=[1.0, 2.0]), num_channels=2
    )
    assert tensor.tolist() == [[0.5, 0.25], [1.0, 2.0]]
    assert tensor.dtype == torch.float32


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.5], [1.0] * 3, r"mean must have 3 values, got \[0.5\]"),
        ([0.5] * 3, [1.0, 1.0], r"std must have 3 values, got \[1.0, 1.0\]"),
        ([0.5] * 3, [1.0, 0.0, 1.0], r"dataset.std must be in .*, got \[1.0, 0.0, 1.0\]"),
        ([0.5] * 3, [1.0, -1.0, 1.0], r"dataset.std must be in .*, got \[1.0, -1.0, 1.0\]"),
    ],
)
def test_a_wrong_mean_or_std_is_named(mean: list[float], std: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalisation_tensor(ImageDataset(mean=mean, std=std), num_channels=3)
    with pytest.raises(ValueError, match=message):
        build(mean=mean, std=std)


@pytest.mark.parametrize(("setting", "value"), [("pad_px", 3), ("cutout_px", 5)])
def test_a_border_or_square_must_leave_something_of_the_images(setting: str, value: int) -> None:
    lengths = {"pad_px": 0, "cutout_px": 0, setting: value}
    with pytest.raises(
        ValueError, match=rf"^augment\.{setting} must be <= .*side 4 .* got {value}"
    ):
        build(augmentation=Augment(flip_prob=0.0, **lengths))
