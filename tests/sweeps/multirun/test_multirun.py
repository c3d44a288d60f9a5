"""Multiruns as a user runs them: shared, killed and resumed, they end as jobs do that run alone."""

import csv
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from processes import differences, left_behind, only_run, script, send, start

pytestmark = pytest.mark.integration

SMALL = ["model.depth=8", "hparams.epochs=3", "hparams.batch_size=8", "device=cpu"]
SMALL += ["tensorboard=false", "checkpoint.every_minutes=0", "dataset=imagefolder", "augment=none"]
SMALL += ["model=resnet20", "optimizer=momentum", "checkpoint.every_epochs=1"]
SMALL += ["checkpoint.keep=last:2"]
SMALL += ["dataset.size_px=16", "dataset.num_workers=0", "dataset.val.split=0.25"]
GRID = ["scheduler=cosine,linear", "averaged.decay=0.5,0.9", "global_seed=1,2"]
FOLDER = "hydra.sweep.dir=grid"
Sweep = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return settings of a training of a second, on 40 images."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for label, grey in (("bright", 140), ("dark", 110)):
        (root / label).mkdir()
        for number in range(20):
            pixels = generator.integers(grey - 90, grey + 90, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")
    return [*SMALL, f"dataset.root={root}"]


@pytest.fixture
def sweep(small: list[str]) -> Sweep:
    def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
        return script("train.py", "--multirun", *small, FOLDER, *arguments, folder=folder)

    return run


def jobs_of(folder: Path) -> dict[str, Path]:
    return {path.parent.name: path.parent for path in sorted(folder.glob("grid/*/config.yaml"))}


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "grid" / "sweep.csv").open() as file:
        return {row["job"]: row for row in csv.DictReader(file)}


def record_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "run.json").read_text())
    return content


def assert_same_runs(ours: Path, theirs: Path) -> None:
    """Demand that two multiruns left the same, bit for bit."""
    assert jobs_of(ours).keys() == jobs_of(theirs).keys()
    for name, run in jobs_of(ours).items():
        other = jobs_of(theirs)[name]
        assert differences(left_behind(run), left_behind(other)) == [], name
        assert (run / "config.yaml").read_text() == (other / "config.yaml").read_text()
        for key in ("status", "results", "best", "epoch", "step", "seed", "labels", "choices"):
            assert record_of(run)[key] == record_of(other)[key], (name, key)
        assert set(name.split(",")) <= set(record_of(run)["overrides"])


@pytest.fixture(scope="module")
def alone(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    arguments = [*small, FOLDER, *GRID, "sweep.share=false"]
    done = script("train.py", "--multirun", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("8 jobs, 8 trainings\n")
    return folder


@pytest.fixture(scope="module")
def shared(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    done = script("train.py", "--multirun", *small, FOLDER, *GRID, folder=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("8 jobs, 4 trainings\n")
    return folder


def test_jobs_that_share_a_training_leave_what_they_leave_alone(alone: Path, shared: Path) -> None:
    assert_same_runs(shared, alone)
    for name, run in jobs_of(shared).items():
        other = name.replace("0.5", "X").replace("0.9", "0.5").replace("X", "0.9")
        assert [Path(path).name for path in record_of(run)["shares_training_with"]] == [other]
        assert "shares_training_with" not in record_of(jobs_of(alone)[name])
        assert "epoch 3/3" in (run / "run.log").read_text()
        pictures = [each / "pictures" / "worst.png" for each in (run, jobs_of(alone)[name])]
        assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_a_job_of_a_multirun_leaves_what_a_single_run_leaves(
    small: list[str], shared: Path, tmp_path: Path
) -> None:
    settings = ["scheduler=linear", "averaged.decay=0.9", "global_seed=2"]
    done = script("train.py", *small, *settings, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    run = jobs_of(shared)[",".join(settings)]
    assert differences(left_behind(run), left_behind(only_run(tmp_path))) == []
    assert record_of(run)["results"] == record_of(only_run(tmp_path))["results"]
    ours, theirs = ((each / "config.yaml").read_text() for each in (run, only_run(tmp_path)))
    assert ours == theirs


def test_a_finished_multirun_is_left_alone(sweep: Sweep, shared: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in shared.glob("grid/s*/**/*")}
    done = sweep(*GRID, folder=shared)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("8 jobs, all already finished\n")
    assert {path: path.stat().st_mtime_ns for path in shared.glob("grid/s*/**/*")} == before


def test_the_table_says_how_the_jobs_ended(shared: Path) -> None:
    rows = rows_of(shared)
    assert list(rows) == [
        f"scheduler={scheduler},averaged.decay={decay},global_seed={seed}"
        for scheduler in ("cosine", "linear")
        for decay in ("0.5", "0.9")
        for seed in ("1", "2")
    ]
    for name, row in rows.items():
        record = record_of(jobs_of(shared)[name])
        best = max(record["best"].items(), key=lambda item: item[1]["value"])
        assert (row["state"], row["monitor"], row["reason"]) == ("finished", "val/top1", "")
        assert float(row["value"]) == best[1]["value"]
        assert record["best"][row["model"]]["value"] == best[1]["value"]
        assert f"averaged.decay={row['averaged.decay']}," in name
        assert Path(row["log"]).is_file()


def children(process: BaseProcess) -> list[int]:
    path = Path("/proc", str(process.pid), "task", str(process.pid), "children")
    return [int(number) for number in path.read_text().split()]


def wait_for(pattern: str, folder: Path, process: BaseProcess, count: int) -> None:
    while len(list(folder.glob(pattern))) < count:
        assert process.is_alive(), f"the multirun ended before there were {count} {pattern}"
        time.sleep(0.01)


def test_a_multirun_killed_three_times_ends_as_an_undisturbed_one(
    small: list[str], sweep: Sweep, alone: Path, tmp_path: Path
) -> None:
    for number, count in enumerate((1, 3, 5)):
        process = start("train.py", "--multirun", *small, FOLDER, *GRID, folder=tmp_path)
        # the job's process too, in the middle of writing; or only the first, and the job saves
        wait_for("grid/*/checkpoints/last.pt", tmp_path, process, count)
        victims = children(process) if number != 1 else []
        assert send(process, signal.SIGKILL) == -signal.SIGKILL
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
    done = sweep(*GRID, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_runs(tmp_path, alone)


def test_a_multirun_that_is_terminated_says_so_and_goes_on(
    small: list[str], sweep: Sweep, alone: Path, tmp_path: Path
) -> None:
    arguments = ["--multirun", *small, FOLDER, *GRID]
    process = start("train.py", *arguments, folder=tmp_path, aside=tmp_path)
    wait_for("grid/*/checkpoints/last.pt", tmp_path, process, 1)
    assert send(process, signal.SIGTERM) == 128 + signal.SIGTERM
    assert (tmp_path / "stderr").read_text() == "stopped by SIGTERM\n"
    states = [row["state"] for row in rows_of(tmp_path).values()]
    assert sorted(states) == ["interrupted"] * 2 + ["waiting"] * 6
    reasons = {row["reason"] for row in rows_of(tmp_path).values() if row["state"] != "waiting"}
    assert reasons == {"stopped by SIGTERM"}
    assert sweep(*GRID, folder=tmp_path).returncode == 0
    assert_same_runs(tmp_path, alone)


def test_a_job_whose_process_is_killed_fails_alone(
    small: list[str], sweep: Sweep, alone: Path, tmp_path: Path
) -> None:
    process = start("train.py", "--multirun", *small, FOLDER, *GRID, folder=tmp_path)
    wait_for("grid/*/checkpoints/last.pt", tmp_path, process, 1)
    (victim,) = children(process)
    os.kill(victim, signal.SIGKILL)
    process.join(120)
    assert process.exitcode == 1
    rows = rows_of(tmp_path)
    killed = [name for name, row in rows.items() if row["state"] == "killed"]
    assert killed == [
        f"scheduler=cosine,averaged.decay={each},global_seed=1" for each in (0.5, 0.9)
    ]
    assert all("was killed by SIGKILL" in rows[name]["reason"] for name in killed)
    assert sum(row["state"] == "finished" for row in rows.values()) == 6
    assert sweep(*GRID, folder=tmp_path).returncode == 0
    assert_same_runs(tmp_path, alone)


DIVERGES = ["optimizer.lr=1e9,0.1", "hparams.grad_clip_max_norm=null"]


def test_a_job_that_fails_does_not_disturb_the_others(sweep: Sweep, tmp_path: Path) -> None:
    done = sweep(*DIVERGES, folder=tmp_path)
    assert done.returncode == 1
    assert re.search(r"^error: losses must be finite, got", done.stderr, re.MULTILINE)
    assert done.stderr.splitlines()[-1].startswith("error: 1 of 2 jobs did not finish, see ")
    rows = rows_of(tmp_path)
    assert [row["state"] for row in rows.values()] == ["failed", "finished"]
    assert rows["optimizer.lr=1000000000.0"]["reason"].startswith("losses must be finite, got")


def test_fail_fast_begins_no_more_jobs(sweep: Sweep, tmp_path: Path) -> None:
    done = sweep(*DIVERGES, "sweep.fail_fast=true", folder=tmp_path)
    assert done.returncode == 1
    rows = rows_of(tmp_path)
    assert [row["state"] for row in rows.values()] == ["failed", "waiting"]
    assert rows["optimizer.lr=0.1"]["reason"] == "not started"
    again = sweep(*DIVERGES[1:], "optimizer.lr=0.1,0.2", "sweep.fail_fast=true", folder=tmp_path)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.lr=0.1,-1"], r"optimizer.lr must be > 0, got -1 \(job optimizer.lr=-1\)"),
        (
            ["optimizer.lr=0.1,abc"],
            r"optimizer.lr must be a number, got 'abc' \(job optimizer.lr=abc\)",
        ),
        (["scheduler=cosine,cosin"], r"Could not find 'scheduler/cosin'"),
        (["global_seed=1,2", "+optimizer.foo=1"], r"optimizer.foo must be a setting"),
        (["global_seed=1,2", "dataset.root=nowhere"], r"dataset.root must"),
        (["scheduler.warmup_epochs=0,30"], r"scheduler.warmup_epochs must be .*, got 30 \(job "),
        (
            ["precision=fp32,fp8"],
            r"precision must be auto, fp32 or bf16, got 'fp8' \(job precision=fp8\)",
        ),
        (
            ["hydra.launcher.slots=0", "global_seed=1,2"],
            r"hydra.launcher.slots must be >= 1, got 0",
        ),
        (
            ["averaged.buffers=copied,recomputed", "hparams.freeze_backbone_epochs=1"],
            r"averaged.buffers must be .*, got recomputed \(job averaged.buffers=recomputed\)",
        ),
        (["sheduler=cosine,linear"], "sheduler must be a setting; did you mean scheduler"),
        (
            ["optimizer.lr=0.1,0.1"],
            r"optimizer.lr must list each value once, got 0.1,0.1",
        ),
    ],
)
def test_a_mistake_anywhere_in_the_grid_is_found_before_the_first_job(
    sweep: Sweep, arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = sweep(*arguments, folder=tmp_path)
    assert done.returncode in (1, 2)
    assert re.fullmatch(f"error: .*{message}.*\n", done.stderr), done.stderr
    assert not jobs_of(tmp_path)


def test_other_settings_than_those_of_the_folder_are_refused(sweep: Sweep, shared: Path) -> None:
    before = {path: path.read_bytes() for path in shared.glob("grid/*/*.*")}
    done = sweep(*GRID, "optimizer.lr=0.2", folder=shared)
    assert done.returncode == 1
    message = r"got optimizer.lr=0.2 \(.*0.1\); .*hydra.sweep.dir\n"
    assert re.search(message, done.stderr), done.stderr
    assert {path: path.read_bytes() for path in shared.glob("grid/*/*.*")} == before


def test_a_larger_grid_trains_only_what_is_new(sweep: Sweep, shared: Path, tmp_path: Path) -> None:
    assert sweep("scheduler=cosine", "averaged.decay=0.5,0.9", folder=tmp_path).returncode == 0
    done = sweep("scheduler=cosine", "averaged.decay=0.5,0.7,0.9", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 jobs, 2 already finished, 1 to run in 1 training\n")
    assert [row["state"] for row in rows_of(tmp_path).values()] == ["finished"] * 3


def test_a_begun_job_goes_on_without_the_weights_it_was_started_from(
    small: list[str], sweep: Sweep, shared: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "first.pt"
    donor = next(iter(jobs_of(shared).values()))
    weights.write_bytes((donor / "checkpoints" / "best.pt").read_bytes())
    source = f"model.checkpoint={weights}"
    both = [source, "global_seed=1,2"]
    process = start("train.py", "--multirun", *small, FOLDER, *both, folder=tmp_path)
    wait_for("grid/*/checkpoints/last.pt", tmp_path, process, 1)
    assert send(process, signal.SIGTERM) == 128 + signal.SIGTERM
    weights.unlink()
    refused = sweep(*both, folder=tmp_path)
    message = r"error: .*first.pt must be a file, got nothing \(job global_seed=2\)\n"
    assert re.fullmatch(message, refused.stderr), refused.stderr
    weights.write_bytes((donor / "checkpoints" / "best.pt").read_bytes())
    assert sweep(*both, folder=tmp_path).returncode == 0
