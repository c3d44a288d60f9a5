"""Keypoints as a user runs them: train, evaluate in views, hand in; most tests share one run."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from contest_files import write_contest
from processes import differences, left_behind, only_run, script

from visionlab.files.run_folder import read_config, read_rows
from visionlab.files.tensors import map_tensors
from visionlab.tasks.keypoints import check_submission as check_points

pytestmark = pytest.mark.integration

SMALL = [
    "task=keypoints",
    "model.backbone.name=test_resnet",
    "model.stride=32",
    "model.grid=2",
    "dataset.size_px=64",
    "hparams.epochs=1",
    "hparams.batch_size=8",
    "averaged.decay=0.5",
    "device=cpu",
    "tensorboard=false",
]
FACES = ["dataset.num_train=24", "dataset.num_val=6", "dataset.num_test=5"]
NAMES = ["mse", "error_px", "nme", "pck/0.05", "pck/0.1", "pck_area"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keypoints")
    done = script("train.py", *SMALL, *FACES, folder=folder)
    assert done.returncode == 0, done.stderr
    return only_run(folder)


@pytest.fixture(scope="session")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contest") / "data"
    write_contest(folder, num_train=20, num_test=4, num_points=100, num_asked=7, seed=3)
    return folder


def test_a_run_leaves_numbers_points_and_pictures(finished: Path) -> None:
    (row,) = read_rows(finished / "metrics.jsonl")
    for model in ("model", "ema_0.5"):
        assert all(math.isfinite(row[f"val/{model}/{name}"]) for name in (*NAMES, "loss"))
    assert row["val/model/nme"] < 1.0
    content = json.loads((finished / "run.json").read_text())
    assert content["status"] == "finished"
    assert content["labels"] == [str(number) for number in range(68)]
    assert set(content["results"]) == {"test", "train_plain"}
    arrays = np.load(finished / "predictions" / "0001_model.npz")
    assert arrays["points"].shape == (6, 68, 2)
    assert arrays["loss"].shape == (6,)
    distances = arrays["errors_px"].mean(axis=1) / arrays["normaliser_px"]
    assert distances.mean() == pytest.approx(row["val/model/nme"], rel=1e-5)
    for folder in ("pictures", "pictures/train_plain"):
        names = {path.name for path in (finished / folder).iterdir() if path.is_file()}
        assert names == {"worst.png", "pck.png", "errors_by_point.csv"}


def test_views_are_told_alone_and_together(finished: Path, tmp_path: Path) -> None:
    finished = Path(shutil.copytree(finished, tmp_path / "run"))
    done = script(
        "eval.py", f"run={finished}", "split=val", "views=poor_mans_ensemble", folder=finished
    )
    assert done.returncode == 0, done.stderr
    assert "nme of ema_0.5 on val" in done.stdout
    content = json.loads((finished / "views_val.json").read_text())
    row = read_rows(finished / "metrics.jsonl")[0]
    model = content["models"]["model"]
    assert list(model["alone"]) == list(model["running"]) == list(content["weights"])
    assert len(model["alone"]) == 8
    assert model["alone"]["plain"]["nme"] == pytest.approx(row["val/model/nme"], rel=1e-6)
    folder = finished / "predictions" / "model" / "val_views"
    saved = map_tensors(folder / "turned_20.pt")
    assert saved["columns"]["values"].shape == (6, 68, 2)


def test_a_run_with_relative_paths_is_found_from_elsewhere(contest: Path, tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    shutil.copytree(contest, here / "data")
    elsewhere.mkdir()
    (here / "val.txt").write_text("000003.jpg\n000005.jpg\n")
    paths = ["dataset.root=data", "dataset.val.list=val.txt", "dataset.val.split=0"]
    settings = [*SMALL, "dataset=landmarks_csv", "dataset.num_workers=0", "model.grid=1", *paths]
    sweep = ["--multirun", *settings, "global_seed=0", "hydra.sweep.dir=sweep"]
    done = script("train.py", *sweep, folder=here)
    assert done.returncode == 0, done.stderr
    (run,) = (path.parent for path in here.glob("sweep/*/config.yaml"))
    again = script("train.py", *sweep, folder=here)
    assert "1 job, all already finished" in again.stdout
    before = read_config(run)["dataset"]
    assert before["val"]["list"] == str(here / "val.txt")
    for name, argument in (("eval.py", f"run={run}"), ("train.py", f"resume={run}")):
        done = script(name, argument, folder=elsewhere)
        assert done.returncode == 0, done.stderr
    assert read_config(run)["dataset"] == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["views=mirrored", "views.plain.weight=-1"], "views.plain.weight must be >= 0, got -1"),
        (
            ["views=mirrored", "views.plain.weight=0", "views.mirrored.weight=0"],
            "views must have weights with a sum above 0",
        ),
        (["views=mirored"], "Could not find 'views/mirored'"),
        (["views=mirrored", "views.plain.zoom=2"], "zoom must be a setting"),
    ],
)
def test_wrong_views_are_one_line(finished: Path, arguments: list[str], message: str) -> None:
    done = script("eval.py", f"run={finished}", *arguments, folder=finished)
    assert done.returncode != 0
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_recorded_recipe_runs_from_end_to_end(contest: Path, tmp_path: Path) -> None:
    """Its four parts, each from the weights of the one before, then views and the checker."""
    small = [setting for setting in SMALL if not setting.startswith(("task=", "averaged"))]
    small += [f"dataset.root={contest}", "dataset.num_workers=0", "model.backbone.pretrained=false"]
    small.append("scheduler.patience_epochs=0.5")  # an epoch has three steps here
    weights: list[str] = []
    for name in ("1_frozen", "2_unfrozen", "3_enme", "4_decay"):
        folder = tmp_path / name
        folder.mkdir()
        done = script("train.py", f"experiment=landmarks_{name}", *small, *weights, folder=folder)
        assert done.returncode == 0, done.stderr
        run = only_run(folder)
        weights = [f"model.checkpoint={run}/checkpoints/last.pt"]
    done = script(
        "eval.py",
        f"run={run}",
        "split=test",
        "submission=true",
        "views=poor_mans_ensemble",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    path = run / "predictions" / "model_views" / "test_submission.csv"
    listed = contest / "test" / "test_points.csv"
    images = contest / "test" / "images"
    assert check_points.main([str(path), str(listed), "--images", str(images)]) == 0
    with path.open() as file:
        rows = list(csv.reader(file))
    assert len(rows) == 5
    assert all(len(row) == 15 for row in rows)
    assert not (run / "views_test.json").exists()


def test_a_frozen_run_leaves_the_backbone_alone(contest: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "dataset=landmarks_csv", f"dataset.root={contest}", "dataset.num_workers=0"]
    settings += ["hparams.freeze_backbone_epochs=1", "hparams.hard_examples=[0.1,0.8]"]
    done = script("train.py", *settings, "loss=wing", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = read_rows(only_run(tmp_path) / "metrics.jsonl")
    assert row["train/loss_of_all"] > 0


def test_a_run_stopped_within_an_epoch_goes_on_exactly(finished: Path, tmp_path: Path) -> None:
    done = script("train.py", *SMALL, *FACES, "stop.max_steps=2", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    done = script("train.py", f"resume={run}", "stop.max_steps=null", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert differences(left_behind(finished), left_behind(run)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hparams.hard_examples=[0.5,0.1]"], "hparams.hard_examples"),
        (["dataset.mirror=null"], "augment.mirror_prob must be 0 without dataset.mirror"),
        (["dataset.mirror=[0,1]"], "dataset.mirror must be a permutation of 68 points"),
        (["model.grid=3"], "model.grid must be at most 2 for inputs of 64 px"),
        (["task.export.rounding=up"], "rounding must be one of nearest, truncated, got 'up'"),
        (["augment.scale=[1.2,0.8]"], "augment.scale must be the least and the largest factor"),
        (["loss=cross_entropy"], "loss must be one for task keypoints"),
        (["dataset.eyes=[[0],[99]]"], "eyes must be points in [0, 68), got 99"),
    ],
)
def test_wrong_settings_are_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = script("train.py", *SMALL, *FACES, *arguments, folder=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_files_that_are_missing_or_damaged_are_named_or_skipped(
    contest: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    write_contest(root, num_train=20, num_test=2, num_points=10, num_asked=3, seed=3)
    (root / "train" / "images" / "000003.jpg").unlink()
    settings = [*SMALL, "dataset=landmarks_csv", f"dataset.root={root}", "dataset.num_workers=0"]
    done = script("train.py", *settings, folder=tmp_path)
    assert done.returncode == 1
    assert "landmarks.csv data row 4 names an image that must exist" in done.stderr
    (root / "train" / "images" / "000005.jpg").write_bytes(b"no image")
    done = script("train.py", *settings, "dataset.skip_unreadable=true", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    content = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert [Path(path).name for path in content["unreadable"]] == ["000003.jpg", "000005.jpg"]
