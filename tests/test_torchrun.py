"""`train.py` under torchrun. Most tests fork two processes as torchrun would start them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from groups import scripts
from processes import (
    ENVIRONMENT,
    ROOT,
    SMALL,
    differences,
    left_behind,
    only_run,
    script,
    wait_for_checkpoint,
)

from visionlab.files.tensors import read_tensors

pytestmark = pytest.mark.integration

# torch's own batch norm on the CPU adds up coarsely in channels-last order, that of two does not
ARGUMENTS = [*SMALL, "channels_last=false", "checkpoint.every_minutes=0", "tensorboard=false"]
ARGUMENTS += ["checkpoint.every_epochs=1"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


OTHERS = [("0", "stderr"), ("1", "stdout"), ("1", "stderr")]


def files_in(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def run_shared(*arguments: str, folder: Path, aside: Path) -> None:
    """Run `train.py` in two processes to its end."""
    with scripts("train.py", *arguments, folder=folder, aside=aside) as group:
        for process in group:
            process.join(120)
        errors = [(aside / str(rank) / "stderr").read_text() for rank in range(2)]
        assert [process.exitcode for process in group] == [0, 0], errors
        assert errors == ["", ""]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    run_shared(*ARGUMENTS, folder=folder, aside=folder / "said")
    return only_run(folder)


def test_only_the_first_process_writes_and_speaks(unbroken: Path) -> None:
    folder = unbroken.parents[2]
    assert {path.name for path in folder.iterdir()} == {"outputs", "said"}
    assert (folder / "said" / "1" / "stdout").read_text() == ""
    said = (folder / "said" / "0" / "stdout").read_text()
    assert len(re.findall(r"^epoch \d/2  lr .* images/s$", said, re.MULTILINE)) == 2
    record = json.loads((unbroken / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["hardware"]["processes"] == 2
    assert record["num_starts"] == 1


def test_all_processes_start_from_the_weights_that_the_first_one_reads(
    unbroken: Path, tmp_path: Path
) -> None:
    arguments = [*ARGUMENTS, f"model.backbone.weights={unbroken}", "optimizer.lr=1e-9"]
    run_shared(*arguments, "averaged=none", folder=tmp_path, aside=tmp_path / "said")
    run = only_run(tmp_path)
    taken = json.loads((run / "run.json").read_text())["initial_weights"]["backbone"]["taken"]
    before, after = (
        read_tensors(path / "checkpoints" / name, require_checksum=True)["model"]
        for path, name in ((unbroken, "best.pt"), (run, "last.pt"))
    )
    weights = [name for name in taken if name.endswith("conv1.weight")]
    assert len(weights) > 3
    assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in weights)
    epoch = read_tensors(run / "checkpoints" / "epoch_0002.pt", require_checksum=True)["model"]
    assert all(torch.equal(value, after[name]) for name, value in epoch.items())


def test_every_sample_is_seen_once_and_evaluated_once(unbroken: Path, tmp_path: Path) -> None:
    assert script("train.py", *ARGUMENTS, folder=tmp_path).returncode == 0
    alone = only_run(tmp_path)
    for name in ("0001_model.npz", "0002_ema_0.9.npz"):
        ours, theirs = (np.load(run / "predictions" / name) for run in (unbroken, alone))
        assert ours["keys"].tolist() == theirs["keys"].tolist()
        assert ours["label"].tolist() == theirs["label"].tolist()
    ours, theirs = (left_behind(each)["rows"] for each in (unbroken, alone))
    for row, other in zip(ours, theirs, strict=True):
        assert row.keys() == other.keys()
        assert [row[key] for key in ("step", "lr")] == [other[key] for key in ("step", "lr")]
    assert ours[0]["train/loss"] == pytest.approx(theirs[0]["train/loss"], rel=1e-3)


def test_a_killed_run_of_two_processes_resumes_exactly(unbroken: Path, tmp_path: Path) -> None:
    seconds = json.loads((unbroken / "run.json").read_text())["train_seconds"]
    with scripts("train.py", *ARGUMENTS, folder=tmp_path) as group:
        wait_for_checkpoint(tmp_path, group[0])
        time.sleep(0.5 * seconds)
        for process in group:
            process.kill()
            process.join()
        assert [process.exitcode for process in group] == [-signal.SIGKILL] * 2
    run = only_run(tmp_path)
    run_shared(f"resume={run}", folder=tmp_path, aside=tmp_path / "said")
    assert differences(left_behind(unbroken), left_behind(run)) == []


@pytest.mark.slow
def test_a_run_one_process_of_which_is_killed_says_so_and_resumes_exactly(
    unbroken: Path, tmp_path: Path
) -> None:
    with scripts("train.py", *ARGUMENTS, folder=tmp_path, aside=tmp_path / "said") as group:
        wait_for_checkpoint(tmp_path, group[0])
        group[1].kill()
        group[0].join(60)
        assert group[0].exitcode == 1
    said = (tmp_path / "said" / "0" / "stderr").read_text()
    assert said == "error: a process of the run ended before the others\n"
    run = only_run(tmp_path)
    run_shared(f"resume={run}", folder=tmp_path, aside=tmp_path / "said_then")
    assert differences(left_behind(unbroken), left_behind(run)) == []


@pytest.mark.slow
def test_a_signal_to_one_process_ends_all_and_the_run_resumes_exactly(
    unbroken: Path, tmp_path: Path
) -> None:
    with scripts("train.py", *ARGUMENTS, folder=tmp_path, aside=tmp_path / "said") as group:
        wait_for_checkpoint(tmp_path, group[0])
        assert group[1].pid is not None
        os.kill(group[1].pid, signal.SIGTERM)
        for process in group:
            process.join(60)
        assert [process.exitcode for process in group] == [128 + signal.SIGTERM] * 2
    assert "stopped by SIGTERM" in (tmp_path / "said" / "0" / "stdout").read_text()
    for rank in ("0", "1"):
        assert (tmp_path / "said" / rank / "stderr").read_text() == ""
    run = only_run(tmp_path)
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    run_shared(f"resume={run}", folder=tmp_path, aside=tmp_path / "said_then")
    assert differences(left_behind(unbroken), left_behind(run)) == []


def test_torchrun_sees_what_one_process_sees_and_resumes_exactly(
    unbroken: Path, tmp_path: Path
) -> None:
    arguments = [*ARGUMENTS, "stop.max_steps=4"]
    done = subprocess.run(
        [*TORCHRUN, str(ROOT / "train.py"), *arguments],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shared = only_run(tmp_path)
    assert script("train.py", *arguments, folder=shared).returncode == 0
    ours, theirs = (
        read_tensors(run / "checkpoints" / "last.pt", require_checksum=True)["state"]
        for run in (shared, only_run(shared))
    )
    assert ours["step"] == theirs["step"] == 4
    assert ours["means"]["num_samples"] == theirs["means"]["num_samples"] == 4 * 128
    assert ours["means"]["sums"]["loss"] == pytest.approx(theirs["means"]["sums"]["loss"], rel=1e-5)
    again = ["stop.max_steps=null", f"resume={shared}"]
    run_shared(*again, folder=tmp_path, aside=tmp_path / "said")
    found, expected = left_behind(shared), left_behind(unbroken)
    assert differences(expected["last"], found["last"]) == []


def test_evaluation_by_two_processes_leaves_what_one_leaves(unbroken: Path, tmp_path: Path) -> None:
    arguments = [f"run={unbroken}", "batch_size=100", "device=cpu"]
    aside = tmp_path / "said"
    with scripts("eval.py", *arguments, "out=ours", folder=tmp_path, aside=aside) as group:
        for process in group:
            process.join(120)
        assert [process.exitcode for process in group] == [0, 0]
    done = script("eval.py", *arguments, "out=theirs", folder=tmp_path)
    assert (aside / "0" / "stdout").read_text() == done.stdout.replace("theirs", "ours")
    assert [(aside / rank / name).read_text() for rank, name in OTHERS] == [""] * 3
    ours, theirs = (files_in(tmp_path / name) for name in ("ours", "theirs"))
    assert "evaluation_test.json" in theirs
    assert ours == theirs


@pytest.mark.parametrize(
    ("name", "arguments", "code", "message"),
    [
        (
            "train.py",
            ["hparams.batch_size=33"],
            1,
            "hparams.batch_size must be a multiple of 2 processes times accumulate_steps 1, got 33",
        ),
        ("train.py", ["optimizer.lr=-1"], 1, "optimizer.lr must be .*, got -1.*"),
        ("train.py", ["optimizer.lt=1"], 2, "optimizer.lt must be a setting.*"),
        (
            "train.py",
            ["--multirun", "optimizer.lr=1,2"],
            1,
            "--multirun must run in one process, got 2 from torchrun",
        ),
        (
            "train.py",
            ["num_processes=3"],
            1,
            "num_processes must be 1 or 2 as torchrun has it, got 3",
        ),
        ("eval.py", ["run=somewhere"], 1, "run must be the folder of a run, got somewhere"),
        (
            "eval.py",
            ["run=somewhere", "views=mirrored"],
            1,
            "views must be null in 2 processes, got some",
        ),
    ],
)
def test_a_mistake_is_one_line_of_the_first_process(
    name: str, arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    aside = tmp_path / "said"
    with scripts(name, *arguments, folder=tmp_path, aside=aside) as group:
        group[0].join(60)
        assert group[0].exitcode == code
        assert re.fullmatch(f"error: {message}\n", (aside / "0" / "stderr").read_text())
        assert group[1].is_alive()  # until torchrun, which has seen the first one end, ends it
        assert (aside / "1" / "stderr").read_text() == ""
    assert not list(tmp_path.glob("multirun")) + list(tmp_path.glob("outputs/*/*"))


@pytest.mark.slow
def test_another_process_speaks_if_nobody_ends_it(tmp_path: Path) -> None:
    arguments, aside = ["hparams.batch_size=33", "device=cpu"], tmp_path / "said"
    with scripts("train.py", *arguments, folder=tmp_path, aside=aside) as group:
        for process in group:
            process.join(60)
        assert [process.exitcode for process in group] == [1, 1]
    first, second = ((aside / rank / "stderr").read_text() for rank in "01")
    assert second == f"process 1: {first}"
