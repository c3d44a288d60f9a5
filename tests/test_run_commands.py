"""`visionlab runs|diff|prune|repeat` as a user runs them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import ENVIRONMENT, ROOT, SMALL, only_run, script
from run_folders import write_grid

from visionlab.files.tensors import read_tensors

pytestmark = pytest.mark.integration


def visionlab(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "visionlab", *arguments],
        cwd=folder,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    done = script("train.py", *SMALL, "threads=1", "tensorboard=false", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_repeated_run_has_the_same_bits(trained: Path, tmp_path: Path) -> None:
    first = only_run(trained)
    alone = tmp_path / "sent, =it's"
    alone.mkdir()
    for name in ("config.yaml", "run.json", "metrics.jsonl"):
        shutil.copy(first / name, alone / name)
    done = visionlab("repeat", str(alone), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "metrics.jsonl: 2 epochs of both are equal, bit by bit" in done.stdout
    second = only_run(tmp_path)
    said = (second / "run.log").read_text()
    assert all(each in said for each in ("repeating", "epoch 2/2", "equal, bit by bit"))
    for name in ("metrics.jsonl", "config.yaml"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    files = {path.name for path in (first / "checkpoints").glob("*.pt")}
    assert files == {path.name for path in (second / "checkpoints").glob("*.pt")}
    for name in files:
        ours, theirs = (
            read_tensors(run / "checkpoints" / name, require_checksum=True)["model"]
            for run in (first, second)
        )
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    compared = visionlab("diff", str(first), str(second), folder=tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert "settings: no difference" in compared.stdout


def test_a_repetition_that_cannot_begin_leaves_nothing(trained: Path, tmp_path: Path) -> None:
    done = visionlab("repeat", str(only_run(trained)), "dataset.root=/x", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: dataset.root must belong to the run's data set, got /x\n"
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_a_pruned_run_still_evaluates_its_best(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "outputs", tmp_path / "outputs")
    rules = ("prune", "older_than_days=0")
    said = visionlab(*rules, folder=tmp_path).stdout
    assert "would remove 4 files of 1 run" in said  # last, previous and two averages
    checkpoints = only_run(tmp_path) / "checkpoints"
    assert (checkpoints / "last.pt").exists()
    assert "removed 4 files of 1 run" in visionlab(*rules, "apply=true", folder=tmp_path).stdout
    left = {path.stem for path in checkpoints.iterdir()}
    assert left == {"best", "ema_0.5_best", "ema_0.9_best"}
    done = script("eval.py", "split=val", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "│ ema_0.9_best │" in done.stdout
    assert "│ model " not in done.stdout


def test_the_list_is_filtered_and_sorted(tmp_path: Path) -> None:
    write_grid(tmp_path / "multirun" / "grid", seeds=[1, 2])
    done = visionlab("runs", "where.scheduler=cosine", "sort=run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [each for each in done.stdout.splitlines() if each.startswith("│")]
    assert [line.split("global_seed=")[1][:1] for line in lines] == ["1", "2", "1", "2"]
    assert done.stdout.splitlines()[-1].startswith("4 of 8 runs: 4 finished, ")


def test_jobs_are_named_by_their_folders(tmp_path: Path) -> None:
    write_grid(tmp_path, schedulers=["cosine", "linear"], decays=[0.9], seeds=[1])
    jobs = sorted(each.name for each in tmp_path.iterdir() if each.name[0] != ".")
    done = visionlab("diff", *jobs, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "│ scheduler " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs", "nowhere"], "runs must be folders with runs in or below them, got nowhere"),
        (["runs", ".", "runs=."], "runs must be given once, got . and runs=."),
        (["runs", ".", "sorted=age"], "sorted must be a setting; did you mean sort?"),
        (["diff", "a"], "runs must be two run folders, got 1"),
        (["diff"], "runs must be given, got nothing"),
        (["prune", "remove=runs"], "state must be given with remove=runs, as failed, got null"),
        (["repeat", "a", "b"], "run must be one folder, got a, b"),
        (["repeat", "a"], "run must be the folder of a run, got a"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = visionlab(*arguments, folder=tmp_path)
    assert done.returncode != 0
    assert done.stderr == f"error: {message}\n"
    assert os.listdir(tmp_path) == []  # noqa: PTH208


@pytest.mark.parametrize("command", ["runs", "diff", "prune", "repeat"])
def test_help_explains_every_setting(tmp_path: Path, command: str) -> None:
    done = visionlab(command, "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"usage: visionlab {command} " in done.stdout
    lines = [each for each in done.stdout.splitlines() if each.startswith("  ")]
    assert lines
    assert all(len(line.split()) > 2 for line in lines)
