"""A person's photographs with the defaults of `dataset=imagefolder`, without a network."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from processes import only_run, script

from visionlab.files.run_folder import read_rows

pytestmark = pytest.mark.integration
COLOURS = {"apples": (200, 40, 30), "boxes": (60, 90, 200)}


def write_photos(root: Path, *, count: int) -> None:
    """Write JPEGs of 300x200 px with a red disc or a blue square on noise."""
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            noise = random.normal(random.integers(60, 200, 3), 25, (200, 300, 3))
            image = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
            x, y, side = random.integers((20, 10, 70), (140, 80, 110)).tolist()
            pen = ImageDraw.Draw(image)
            draw = pen.ellipse if name == "apples" else pen.rectangle
            draw((x, y, x + side, y + side), fill=colour)
            image.save(root / name / f"{number}.jpg")


def test_the_defaults_learn_and_say_what_they_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no cache"))
    write_photos(tmp_path / "photos", count=12)
    own = ["hparams.epochs=3", "hparams.batch_size=4", "device=cpu"]
    settings = ["dataset=imagefolder", "dataset.root=photos", *own]
    done = script("train.py", *settings, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (advice,) = [line for line in done.stdout.splitlines() if "model.pretrained=false" in line]
    assert "training from scratch" in advice
    assert "  train: 20 images (apples " in done.stdout
    losses = [row["train/loss"] for row in read_rows(only_run(tmp_path) / "metrics.jsonl")]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]
