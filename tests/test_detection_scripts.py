"""Detection as a user runs it: train, evaluate, hand in; most tests share one run."""

import contextlib
import json
import math
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import (
    ENVIRONMENT,
    differences,
    left_behind,
    only_run,
    script,
    send,
    start,
    wait_for_checkpoint,
)

from visionlab.files.run_folder import read_rows
from visionlab.tasks.detection.metric import NAMES

pytestmark = pytest.mark.integration

SMALL = [
    "task=detection",
    "model.backbone.name=test_resnet",
    "hparams.epochs=1",
    "averaged.decay=0.5",
    "device=cpu",
    "tensorboard=false",
]
SCENES = ["dataset.num_train=16", "dataset.num_val=6", "dataset.num_test=5"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detection")
    done = script("train.py", *SMALL, *SCENES, folder=folder)
    assert done.returncode == 0, done.stderr
    return only_run(folder)


def write_cells(root: Path, names: list[str], *, num_images: int = 6) -> None:
    """Write a COCO data set of grey pictures, each with one bright square of the first class."""
    categories = [{"id": 7 * (n + 1), "name": name} for n, name in enumerate(names)]
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        images, annotations = [], []
        for number in range(num_images):
            pixels = np.full((48, 64, 3), 90, np.uint8)
            x, y = 4 + 5 * number, 6 + 3 * number
            pixels[y : y + 16, x : x + 20] = 230
            Image.fromarray(pixels).save(root / "images" / split / f"{number}.png")
            entry = {"id": number, "file_name": f"{number}.png", "width": 64, "height": 48}
            images.append(entry)
            annotations.append(
                {
                    "id": number + 1,
                    "image_id": number,
                    "category_id": 7,
                    "bbox": [x, y, 20, 16],
                    "area": 320,
                    "iscrowd": 0,
                }
            )
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{split}.json").write_text(json.dumps(content))


CELLS = [
    *SMALL,
    "dataset=coco",
    "dataset.annotations.test=null",
    "dataset.resize.short_px=48",
    "dataset.resize.long_px=64",
    "dataset.num_workers=0",
    "model=retinanet_small",
    "hparams.batch_size=3",
]


def test_a_run_leaves_numbers_and_pictures(finished: Path) -> None:
    (row,) = read_rows(finished / "metrics.jsonl")
    for name in (*NAMES, "AP/3", "loss", "classification", "box"):
        assert math.isfinite(row[f"val/ema_0.5/{name}"])
    assert row["train/boxes_per_image"] > 1
    assert {path.name for path in (finished / "pictures").iterdir()} == {"fixed.png", "worst.png"}
    with np.load(finished / "predictions" / "0001_model.npz") as samples:
        assert samples["num_detections"].sum() == len(samples["boxes"]) == len(samples["scores"])
        assert len(samples["keys"]) == 6


def test_evaluating_gives_the_numbers_of_the_run(finished: Path, tmp_path: Path) -> None:
    done = script("eval.py", f"run={finished}", "split=val", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    written = json.loads((finished / "evaluation_val.json").read_text())
    (row,) = read_rows(finished / "metrics.jsonl")
    assert written["model"]["AP"] == row["val/model/AP"]
    assert written["ema_0.5"]["loss"] == pytest.approx(row["val/ema_0.5/loss"], rel=1e-5)
    assert re.search(r"AP_small .*\n.*AP_medium", done.stdout)
    assert (finished / "pictures" / "val" / "ema_0.5" / "worst.png").exists()
    results = json.loads((finished / "predictions" / "model" / "val_bbox_results.json").read_text())
    assert {entry["image_id"] for entry in results} <= set(range(10**9, 10**9 + 6))


def test_a_submission_passes_the_checker(tmp_path: Path) -> None:
    write_cells(tmp_path / "cells", ["cell", "dirt"])
    root = f"dataset.root={tmp_path / 'cells'}"
    done = script("train.py", *CELLS, root, "task.predict.score_threshold=0.0", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    done = script("eval.py", f"run={run}", "split=val", "submission=true", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "AP" not in done.stdout
    path = run / "predictions" / "best" / "val_bbox_results.json"
    assert f"wrote {path}" in done.stdout
    assert {entry["category_id"] for entry in json.loads(path.read_text())} <= {7, 14}
    command = [sys.executable, "-m", "visionlab.tasks.detection.check_submission", str(path)]
    checked = subprocess.run(
        [*command, str(tmp_path / "cells" / "val.json")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "cell" in checked.stdout


def test_data_that_moved_or_changed_its_classes(tmp_path: Path) -> None:
    write_cells(tmp_path / "before", ["cell"])
    root = f"dataset.root={tmp_path / 'before'}"
    done = script("train.py", *CELLS, root, "stop.max_steps=1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "before").rename(tmp_path / "after")
    run, moved = only_run(tmp_path), f"dataset.root={tmp_path / 'after'}"
    arguments = ["task=detection", "dataset=coco", moved, "stop.max_steps=2"]
    done = script("train.py", f"resume={run}", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "run.json").read_text())["step"] == 2
    write_cells(tmp_path / "other", ["cell", "dirt"])
    other = f"dataset.root={tmp_path / 'other'}"
    message = r"error: dataset must have the run's classes, 1 \(cell\), got 2 \(cell, dirt\)\n"
    done = script("eval.py", f"run={run}", other, "split=val", folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(message, done.stderr), done.stderr
    arguments = ["task=detection", "dataset=coco", other]
    done = script("train.py", f"resume={run}", *arguments, folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(message, done.stderr), done.stderr


def processes_in(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if path.readlink() == folder:
                found.append(path.parent.name)
    return found


def test_a_killed_run_on_files_resumes_exactly(tmp_path: Path) -> None:
    write_cells(tmp_path / "cells", ["cell"], num_images=12)
    arguments = [*CELLS, f"dataset.root={tmp_path / 'cells'}", "dataset.num_workers=1"]
    arguments += ["checkpoint.every_minutes=0", "hparams.epochs=2", "augment=boxes_jitter"]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    done = script("train.py", *arguments, folder=tmp_path / "whole")
    assert done.returncode == 0, done.stderr
    process = start("train.py", *arguments, folder=tmp_path / "killed")
    wait_for_checkpoint(tmp_path / "killed", process)
    assert send(process, signal.SIGKILL) == -signal.SIGKILL
    until = time.monotonic() + 30
    while left := processes_in(tmp_path / "killed"):
        assert time.monotonic() < until, f"loader workers {left} outlive their run"
        time.sleep(0.1)
    run = only_run(tmp_path / "killed")
    done = script("train.py", f"resume={run}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert differences(left_behind(only_run(tmp_path / "whole")), left_behind(run)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["loss.positive_iou=0.4", "loss.negative_iou=0.5"],
            "loss.negative_iou must be > 0 and <= positive_iou <= 1, "
            "got negative_iou=0.5 positive_iou=0.4",
        ),
        (
            ["model.backbone.name=vit_tiny_patch16_224"],
            "model.backbone.name must give feature maps",
        ),
        (["model.backbone.name=34"], "model.backbone.name must be text, got 34"),
        (["model.anchors.sizes_px=[32]"], "model.anchors.sizes_px must have 5 numbers"),
        (
            ["augment=pad_crop"],
            "augment must be one for task detection, got Augment, which is for classif",
        ),
        (["dataset=coco", "dataset.root=nowhere"], "dataset.root must be a folder, looked for"),
        (["loss=cross_entropy"], "loss must be one for task detection, got CrossEntropy"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    if not any(argument.startswith("dataset=") for argument in arguments):
        arguments = [*SCENES, *arguments]
    done = script("train.py", *SMALL, *arguments, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}"), done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("outputs/*/*"))


def test_a_task_without_a_format_has_no_submission(tmp_path: Path) -> None:
    small = ["model.depth=8", "hparams.epochs=1", "stop.max_steps=1", "tensorboard=false"]
    assert script("train.py", *small, "averaged=none", folder=tmp_path).returncode == 0
    done = script("eval.py", f"run={only_run(tmp_path)}", "submission=true", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: submission must be false for task classification, got true\n"
