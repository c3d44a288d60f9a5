"""`eval.py ensemble=...` as a user runs it."""

import json
from pathlib import Path

import pytest
from processes import script

pytestmark = pytest.mark.integration

COMMON = ("model.depth=8", "hparams.batch_size=200", "device=cpu", "threads=1", "averaged=none")
COMMON += ("tensorboard=false", "evaluation.test=false", "hparams.epochs=4")
SNAPSHOTS = ("checkpoint.snapshots=every:1", "checkpoint.snapshots_last_epochs=3")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    done = script("train.py", *COMMON, *SNAPSHOTS, "hydra.run.dir=run", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_snapshots_are_fused_and_rivalled(run: Path, tmp_path: Path) -> None:
    done = script("eval.py", f"run={run}", "ensemble=snapshots", "threads=1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((run / "ensemble_test.json").read_text())
    assert found["members"] == ["snapshot_01", "snapshot_02", "snapshot_03"]
    rows = [*found["members"], "ensemble", "greedy", "fitted", "soup"]
    assert [*found["metrics"]] == [*found["calibration"]] == [*found["costs"]] == rows
    assert f"{found['metrics']['ensemble']['top1']:.4f}" in done.stdout
    assert found["costs"]["ensemble"]["forward_passes"] == 3
    assert found["costs"]["soup"]["forward_passes"] == 1
    assert (run / "pictures" / "test" / "ensemble").is_dir()
    saved = run / "predictions" / "snapshot_01" / "test_views" / "plain.pt"
    before = saved.stat().st_mtime_ns
    done = script(
        *("eval.py", f"run={run}", "ensemble=snapshots", "fuse=vote"),
        *("ensemble.weights=[1,0,2]", "threads=1"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    again = json.loads((run / "ensemble_test.json").read_text())
    assert again["weights"] == {"snapshot_01": 1.0, "snapshot_02": 0.0, "snapshot_03": 2.0}
    assert again["metrics"]["snapshot_02"] == found["metrics"]["snapshot_02"]
    assert saved.stat().st_mtime_ns == before


def test_members_of_several_runs_are_fused_into_a_folder_of_their_own(
    run: Path, tmp_path: Path
) -> None:
    done = script(*("train.py", *COMMON, "model.depth=14", "hydra.run.dir=other"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    paths = f"{run}/checkpoints/snapshot_02.pt,other"
    done = script(
        *("eval.py", "ensemble=members", f"ensemble.members=[{paths}]", "threads=1"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "ensemble" / "ensemble_test.json").read_text())
    assert found["members"] == ["run_snapshot_02", "other_best"]
    assert found["task"] == "classification"
    assert found["samples"] == json.loads((run / "run.json").read_text())["samples"]["test"]
    assert "soup" not in found["metrics"]
    assert not (run / "predictions" / "run_snapshot_02").exists()
    figures = ("ensemble_size", "reliability", "overlap", "class_ap")
    for runs in ("ensemble", f"[{run},ensemble]"):
        listed = f"figures=[{','.join(figures)}]"
        done = script("plots.py", f"runs={runs}", listed, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    assert {f"{name}.png" for name in figures} <= {each.name for each in tmp_path.rglob("*.png")}


def test_an_ensemble_of_landmarks_is_drawn_and_compared(tmp_path: Path) -> None:
    small = ("dataset.num_train=60", "dataset.num_val=20", "dataset.num_test=20", "threads=1")
    done = script(
        *("train.py", "task=keypoints", *small, "hparams.epochs=2", "checkpoint.snapshots=every:1"),
        *("averaged=none", "tensorboard=false", "evaluation.test=false", "hydra.run.dir=run"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    done = script(
        *("eval.py", "run=run", "ensemble=snapshots", "views=mirrored", "fuse=median_points"),
        "threads=1",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    found = json.loads((run / "ensemble_test.json").read_text())
    assert found["costs"]["ensemble"]["forward_passes"] == 4
    assert {"ence", "ause"} <= set(found["calibration"]["ensemble"])
    assert (run / "pictures" / "test" / "ensemble" / "worst.png").is_file()
    assert (run / "ensemble_test" / "overlap" / "overlap_matrix.csv").is_file()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["ensemble=snapshots", "fuse=wbf"],
            "fuse must be one for task classification, got Weight",
        ),
        (["ensemble=epochs"], "models must be of model, best, snapshot_01"),
        (
            ["ensemble=snapshots", "ensemble.weights=[1,2]"],
            "ensemble.weights must be one for each of 3",
        ),
        (
            ["ensemble=snapshots", "ensemble.weights=[1,-1,1]"],
            "ensemble.weights must be >= 0, got -1",
        ),
        (
            ["ensemble=snapshots", "models=[best]"],
            "ensemble must be null with checkpoint or models",
        ),
        (
            ["ensemble=members", "ensemble.members=[best]"],
            "ensemble.members must be at least 2 models, got best",
        ),
        (
            ["ensemble=members", "ensemble.members=[best,gone.pt]"],
            "gone.pt must be a file, got nothing",
        ),
        (["ensemble=members"], "ensemble.members must be given"),
        (["fuse=vote"], "fuse must be null without views or ensemble, got some"),
    ],
)
def test_what_cannot_be_fused_is_refused_in_a_line(
    settings: list[str], message: str, run: Path, tmp_path: Path
) -> None:
    before = sorted(path.name for path in run.iterdir())
    done = script("eval.py", f"run={run}", "threads=1", *settings, folder=tmp_path)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert message in last, done.stderr
    assert sorted(path.name for path in run.iterdir()) == before
