import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visionlab.images.resize import Resize
from visionlab.task import Batch, Data
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.records import Annotated
from visionlab.tasks.detection.splits import DetectionDataset, canvas, from_annotations

FLIPPED = BoxAugment(
    flip_prob=1.0,
    vertical_flip_prob=0.0,
    scale=[1.0, 1.0],
    rotation_degrees=0.0,
    min_visible=0.0,
    colours=None,
)


def scene(key: int) -> Annotated:
    pixels = np.random.default_rng(key).integers(0, 256, (3, 32, 32), np.uint8)
    return Annotated(
        name="a.jpg",
        key=key,
        image=torch.from_numpy(pixels),
        width_px=32,
        height_px=32,
        boxes=torch.tensor([[2.0, 3.0, 10.0, 20.0]], dtype=torch.float64),
        labels=torch.tensor([key % 2]),
        crowd=torch.tensor([False]),
        areas=torch.tensor([136.0], dtype=torch.float64),
    )


PARTS = {
    "train": [scene(key) for key in range(9)],
    "val": [scene(key) for key in range(100, 104)],
    "test": [scene(key) for key in range(200, 202)],
}


def build(**changes: Any) -> Data:
    fields: dict[str, Any] = {
        "resize": Resize(short_px=32, long_px=32),
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.25, 0.3],
    }
    fields |= {name: changes.pop(name) for name in fields.keys() & changes}
    settings: dict[str, Any] = {
        "parts": PARTS,
        "class_names": ["cat", "dog"],
        "class_ids": [17, 3],
        "num_workers": 0,
        "read_counts": {},
        "dataset": DetectionDataset(**fields),
        "augmentation": FLIPPED,
        "seed": 7,
        "device": torch.device("cpu"),
    }
    settings |= changes
    return from_annotations(settings.pop("parts"), **settings)


def whole(data: Data, split: str, epoch: int = 0) -> Batch:
    (batch,) = data.splits[split].batches(batch_size=100, epoch=epoch, first_batch=0)
    return batch


def pixels(samples: list[Annotated]) -> Tensor:
    return torch.stack([torch.as_tensor(sample.image) for sample in samples]) / 255.0


def test_each_part_is_a_split_and_train_is_there_without_augmentation_too() -> None:
    data = build()
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 9,
        "train_plain": 9,
        "val": 4,
        "test": 2,
    }
    assert sorted(whole(data, "train").keys.tolist()) == list(range(9))
    assert whole(data, "train_plain").keys.tolist() == list(range(9))
    assert whole(data, "val").keys.tolist() == list(range(100, 104))
    assert whole(data, "test").keys.tolist() == [200, 201]


@pytest.mark.parametrize("names", [("train",), ("train", "val"), ("train", "test")])
def test_parts_that_are_not_there_are_no_splits(names: tuple[str, ...]) -> None:
    data = build(parts={name: PARTS[name] for name in names})
    assert set(data.splits) == {*names, "train_plain"}


@pytest.mark.parametrize("split", ["train_plain", "val", "test"])
def test_to_pixels_gives_back_what_was_normalised(split: str) -> None:
    data = build()
    batch, part = whole(data, split), PARTS[split.removesuffix("_plain")]
    torch.testing.assert_close(data.to_pixels(batch.inputs), pixels(part), atol=1e-4, rtol=0)
    mean, std = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.25, 0.3]])[:, :, None, None]
    torch.testing.assert_close(batch.inputs * std + mean, pixels(part), atol=1e-4, rtol=0)
    assert batch.targets.boxes[:, 0].tolist() == [[2, 3, 10, 20]] * len(part)


def test_only_train_is_augmented_and_shuffled() -> None:
    data = build()
    batch = whole(data, "train")
    flipped = pixels([PARTS["train"][key] for key in batch.keys.tolist()]).flip(3)
    torch.testing.assert_close(data.to_pixels(batch.inputs), flipped, atol=1e-4, rtol=0)
    assert batch.targets.boxes[:, 0].tolist() == [[22, 3, 30, 20]] * 9
    assert whole(data, "train", epoch=1).keys.tolist() != batch.keys.tolist()
    for split in ("train_plain", "val", "test"):
        first, second = (whole(data, split, epoch) for epoch in (0, 1))
        assert torch.equal(first.inputs, second.inputs)
        assert first.keys.tolist() == second.keys.tolist()


def test_the_order_follows_from_the_seed() -> None:
    orders = [whole(build(seed=seed), "train").keys.tolist() for seed in (7, 7, 8)]
    assert orders[0] == orders[1] != orders[2]


def test_a_data_set_says_its_classes() -> None:
    data = build()
    assert data.sizes == {"num_classes": 2}
    assert list(data.class_names) == ["cat", "dog"]
    assert list(data.class_ids) == [17, 3]
    assert data.unreadable == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"augmentation": Augment(pad_px=0, flip_prob=0.5, cutout_px=0)},
            "^augment must be one for boxes, got Augment$",
        ),
        ({"augmentation": None}, "^augment must be one for boxes, got NoneType$"),
        ({"num_workers": -1}, "^dataset.num_workers must be >= 0, got -1$"),
        ({"mean": [0.5]}, r"^dataset.mean must have 3 values, got \[0.5\]$"),
        ({"std": [1.0, 0.0, 1.0]}, r"^dataset.std must be in .*, got \[1.0, 0.0, 1.0\]$"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_large_inputs_on_a_cpu_are_advised_against(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        build(resize=Resize(short_px=240, long_px=320))
        assert not caplog.records
        build(resize=Resize(short_px=608, long_px=1024))
    (record,) = caplog.records
    assert "1024 px" in record.getMessage()
    assert "model=retinanet_small" in record.getMessage()


def test_boxes_are_counted_per_class_without_crowds() -> None:
    crowd = replace(scene(300), crowd=torch.tensor([True]))
    data = build(parts={**PARTS, "test": [*PARTS["test"], crowd]})
    assert data.class_counts == {"train": [5, 4], "val": [2, 2], "test": [1, 1]}


@given(sides=st.lists(st.integers(1, 2000), min_size=1))
def test_a_canvas_is_never_larger_than_needed(sides: list[int]) -> None:
    found = canvas(torch.tensor(sides)).tolist()
    assert all(length % 32 == 0 for length in found)
    assert all(side <= length < side + 32 for side, length in zip(sides, found, strict=True))
    assert canvas(torch.tensor([1, 32, 33, 608])).tolist() == [32, 32, 64, 608]
