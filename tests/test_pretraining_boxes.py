"""Pretraining, boxes of objects in its images, and pretraining on those boxes."""

from pathlib import Path

import pytest
import torch
from composing import composed
from PIL import Image

from visionlab.config.run_config import Invocation
from visionlab.files.run_folder import read_record
from visionlab.runs.evaluate import evaluate_run
from visionlab.runs.evaluation_options import evaluation_options
from visionlab.runs.train import train

pytestmark = pytest.mark.integration

SMALL = ["task=pretraining", "dataset=images", "model=moco_small", "model.queue_length=8"]
SMALL += [
    "dataset.size_px=16",
    "dataset.num_workers=0",
    "hparams.epochs=1",
    "hparams.batch_size=20",
]
SMALL += ["threads=1", "device=cpu", "tensorboard=false"]


def run(folder: Path, *overrides: str) -> None:
    folder.mkdir()
    train(composed(*SMALL, *overrides), Invocation(folder=folder, choices={}, overrides=[]))


def evaluate(folder: Path, *overrides: str) -> None:
    config = composed(f"run={folder}", "device=cpu", "boxes=grad_cam", *overrides, name="eval")
    evaluate_run(evaluation_options(config))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    torch.manual_seed(0)
    for number in range(12):
        pixels = torch.randint(0, 256, (20, 30, 3), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / f"{number}.png")
    return folder


def test_boxes_of_a_run_are_what_the_next_run_crops(
    tmp_path: Path, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run(first, f"dataset.root={images}")
    assert "hparams.batch_size is 20, a batch has all 12 images" in caplog.messages
    evaluate(first)
    path = first / "predictions" / "model" / "boxes.txt"
    lines = path.read_text().splitlines()
    assert sorted(line.split(" ")[0] for line in lines) == sorted(f"{n}.png" for n in range(12))
    assert path.with_suffix(".png").is_file()
    boxed = [f"dataset.root={images}", f"dataset.boxes={path}", "augment=moco_v2_boxes"]
    run(second, *boxed, f"model.backbone.weights={first}")
    (read,) = read_record(second)["read"].values()
    assert read["images with boxes"] == sum("," in line for line in lines) > 0
    evaluate(second, f"out={tmp_path / 'out'}", "models=[model]")
    assert (tmp_path / "out" / "predictions" / "model" / "boxes.txt").is_file()


def test_a_run_of_another_task_has_no_boxes(tmp_path: Path) -> None:
    settings = ["model.depth=8", "hparams.batch_size=700", "hparams.epochs=1", "stop.max_steps=1"]
    config = composed(*settings, "threads=1", "tensorboard=false", "device=cpu")
    train(config, Invocation(folder=tmp_path, choices={}, overrides=[]))
    with pytest.raises(ValueError, match=r"^boxes must be null .* dataset=images .*, got Digits"):
        evaluate(tmp_path)
