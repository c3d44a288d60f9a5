from functools import cache
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from sklearn.datasets import load_digits
from torch import Tensor

from visionlab.images.holdout import Holdout
from visionlab.task import Data
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.datasets.digits import Digits, digit_images

CONF = Path(__file__).parents[4] / "conf" / "dataset" / "digits.yaml"


@cache
def digits(split: float = 0.1, seed: int = 0) -> Data:
    """Return the data with pixels as they are, 0 to 255."""
    dataset = Digits(val=Holdout(split=split, seed=1234), mean=[0.0] * 3, std=[1 / 255] * 3)
    augmentation = Augment(pad_px=0, flip_prob=0.0, cutout_px=0)
    return dataset(augmentation=augmentation, seed=seed, device=torch.device("cpu"))


def pixels_and_labels(data: Data, split: str) -> tuple[Tensor, Tensor]:
    size = len(data.splits[split])
    batch = next(data.splits[split].batches(batch_size=size, epoch=0, first_batch=0))
    return batch.inputs.round(), batch.targets


def naive_image(grey: list[list[float]]) -> list[list[int]]:
    """Return one digit enlarged and framed, pixel by pixel."""
    image = [[0] * 32 for _ in range(32)]
    for row in range(24):
        for column in range(24):
            image[4 + row][4 + column] = round(grey[row // 3][column // 3] * 255 / 16)
    return image


def test_the_parts_have_the_published_sizes() -> None:
    sizes = {name: len(split) for name, split in digits().splits.items()}
    assert sizes == {"train": 1294, "train_plain": 1294, "val": 143, "test": 360}
    assert len(digits(split=0.0).splits["train"]) == 1437
    assert digits().sizes == {"num_classes": 10}
    assert list(digits().class_names) == list("0123456789")


def test_the_parts_are_disjoint_and_make_up_the_whole_set() -> None:
    drawn = [pixels_and_labels(digits(), split) for split in ("train_plain", "val", "test")]
    images = torch.cat([images for images, _ in drawn])[:, 0, 4:28:3, 4:28:3]
    labels = torch.cat([labels for _, labels in drawn])
    source = load_digits()
    grey = torch.from_numpy(source.images) * 255 / 16
    ours = sorted(zip(images.flatten(1).int().tolist(), labels.tolist(), strict=True))
    expected = (grey.round().flatten(1).int().tolist(), source.target.tolist())
    assert ours == sorted(zip(*expected, strict=True))


@pytest.mark.parametrize("row", [0, 1, 777, 1796])
def test_an_image_is_scikit_learns_enlarged_three_times_and_framed(row: int) -> None:
    grey = load_digits().images[row : row + 1]
    image = digit_images(torch.from_numpy(grey))
    assert image.shape == (1, 3, 32, 32)
    assert image.dtype == torch.uint8
    expected = naive_image(grey[0].tolist())
    assert all(image[0, channel].tolist() == expected for channel in range(3))


def test_grey_values_span_black_to_white() -> None:
    grey = torch.tensor([[[0.0, 16.0, 8.0, 1.0, *[0.0] * 4], *[[0.0] * 8] * 7]])
    assert digit_images(grey)[0, 0, 4, 4:16:3].tolist() == [0, 255, 128, 16]


def test_the_test_part_is_the_same_for_every_seed_and_holdout() -> None:
    images, labels = pixels_and_labels(digits(), "test")
    for other in (digits(seed=5), digits(split=0.5)):
        other_images, other_labels = pixels_and_labels(other, "test")
        assert torch.equal(other_images, images)
        assert torch.equal(other_labels, labels)


def test_the_test_part_is_what_it_was_when_the_first_runs_were_made() -> None:
    _, labels = pixels_and_labels(digits(), "test")
    assert labels[:12].tolist() == [6, 5, 5, 7, 9, 9, 8, 4, 6, 8, 6, 0]
    assert labels.bincount().tolist() == [38, 31, 51, 31, 34, 39, 33, 33, 40, 30]


def test_mean_and_std_in_the_settings_are_those_of_the_training_images() -> None:
    settings = OmegaConf.load(CONF)
    images, _ = pixels_and_labels(digits(split=0.0), "train_plain")
    assert len(images) == 1437
    channels = images.double().div(255).movedim(1, 0).flatten(1)
    assert list(settings.mean) == pytest.approx(channels.mean(dim=1).tolist(), abs=1e-3)
    assert list(settings.std) == pytest.approx(channels.std(dim=1).tolist(), abs=1e-3)
