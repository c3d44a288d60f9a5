"""Pictures of samples are those of the run's data set, found by key."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from visionlab.config import command_line
from visionlab.images.holdout import Holdout
from visionlab.runs.sample_pictures import sample_pictures

HOLDOUT = ["dataset.val.split=0.1", "dataset.val.seed=1234"]
NUM_IMAGES = 20  # in each of five files


def write_config(folder: Path, *overrides: str) -> Path:
    """Write `config.yaml` of a run as `train.py` composes it."""
    command_line.register()
    with initialize_config_dir(command_line.CONF, version_base="1.3"):
        config = compose("train", overrides=["averaged.decay=0.9", *overrides])
    folder.mkdir()
    OmegaConf.save(config, folder / "config.yaml", resolve=True)
    return folder


def write_cifar(root: Path) -> np.ndarray:
    """Write CIFAR-10 with made-up pixels and return the training images, (N, 32, 32, 3)."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [f"class {number}" for number in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    draw = np.random.default_rng(0)
    parts = [draw.integers(0, 256, (NUM_IMAGES, 3072)).astype(np.uint8) for _ in range(6)]
    files = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for name, part in zip(files, parts, strict=True):
        content = {"data": part, "labels": [0] * NUM_IMAGES}
        (folder / name).write_bytes(pickle.dumps(content))
    return np.concatenate(parts[:5]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def test_pictures_are_the_files_own_pixels_in_the_order_asked_for(tmp_path: Path) -> None:
    images = write_cifar(tmp_path / "new")
    overrides = ["dataset=cifar10", "dataset.root=/nowhere", "dataset.verify=false"]
    folder = write_config(tmp_path / "run", *overrides, "dataset.download=false", *HOLDOUT)
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        sample_pictures(folder, [0], dataset_root=None, parts=())
    root = str(tmp_path / "new")
    with pytest.raises(ValueError, match=r"^dataset must have the run's samples, got none with"):
        sample_pictures(folder, range(100), dataset_root=root, parts=())  # most are for training
    rows = Holdout(split=0.1, seed=1234).rows(len(images))[1].tolist()
    keys = [rows[7], rows[2], rows[9]]
    pictures = sample_pictures(folder, keys, dataset_root=root, parts=())
    for key, picture in zip(keys, pictures, strict=True):
        assert picture.dtype == np.uint8
        assert picture.tolist() == images[key].tolist()


def test_a_data_set_without_a_root_takes_none(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "run", "dataset=digits")
    with pytest.raises(ValueError, match=r"^dataset.root must belong .*, got elsewhere$"):
        sample_pictures(folder, [0], dataset_root="elsewhere", parts=())


def test_without_a_validation_part_there_are_no_pictures(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "run", "dataset=digits", "dataset.val.split=0")
    with pytest.raises(ValueError, match=r"^dataset must have a validation part, got none for"):
        sample_pictures(folder, [0], dataset_root=None, parts=())
