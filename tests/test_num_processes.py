"""Runs and jobs of several processes that `train.py` starts itself, with `num_processes`."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import (
    ENVIRONMENT,
    ROOT,
    SMALL,
    differences,
    left_behind,
    only_run,
    script,
    send,
    start,
    wait_for_checkpoint,
)

pytestmark = pytest.mark.integration

ARGUMENTS = [*SMALL, "channels_last=false", "checkpoint.every_minutes=0", "tensorboard=false"]
TWO = [*ARGUMENTS, "num_processes=2"]


def record_of(run: Path) -> Any:
    return json.loads((run / "run.json").read_text())


@pytest.fixture(scope="module")
def torchrun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that torchrun started, really."""
    folder = tmp_path_factory.mktemp("torchrun")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(ROOT / "train.py"), *ARGUMENTS]
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True)
    return only_run(folder)


def test_a_run_starts_its_processes_and_is_that_of_torchrun(torchrun: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train.py"), *TWO]
    done = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(re.findall(r"^epoch \d/2  lr .* images/s$", done.stdout, re.MULTILINE)) == 2
    run = only_run(tmp_path)
    assert differences(left_behind(run), left_behind(torchrun)) == []
    for each in (run, torchrun):
        assert record_of(each)["hardware"]["processes"] == 2
        assert "\nnum_processes: 2\n" in (each / "config.yaml").read_text()
        assert "epoch 2/2" in (each / "run.log").read_text()


def test_a_run_that_was_stopped_resumes_in_as_many_processes(
    torchrun: Path, tmp_path: Path
) -> None:
    process = start("train.py", *TWO, folder=tmp_path, aside=tmp_path)
    wait_for_checkpoint(tmp_path, process)
    assert send(process, signal.SIGTERM) == 128 + signal.SIGTERM
    run = only_run(tmp_path)
    assert record_of(run)["status"] == "interrupted"
    assert "stopped by SIGTERM\n" in (tmp_path / "stdout").read_text()
    assert (tmp_path / "stderr").read_text() == ""
    assert script("train.py", f"resume={run}", folder=tmp_path).returncode == 0
    assert record_of(run)["hardware"]["processes"] == 2
    assert differences(left_behind(run), left_behind(torchrun)) == []


def test_a_run_that_was_killed_resumes_exactly_or_in_another_number(
    torchrun: Path, tmp_path: Path
) -> None:
    process = start("train.py", *TWO, folder=tmp_path)
    wait_for_checkpoint(tmp_path, process)
    process.kill()
    process.join()
    run = only_run(tmp_path)
    done = script("train.py", f"resume={run}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert differences(left_behind(run), left_behind(torchrun)) == []
    done = script("train.py", f"resume={run}", "num_processes=1", folder=tmp_path)
    assert "processes 1 (2 before)" in done.stdout
    assert "\nnum_processes: 1\n" in (run / "config.yaml").read_text()


def test_jobs_of_a_multirun_share_a_training_of_two_processes(
    torchrun: Path, tmp_path: Path
) -> None:
    decays = "averaged.decay=[0.5,0.9],[0.9]"
    arguments = [*TWO, decays, "hydra.sweep.dir=grid"]
    done = script("train.py", "--multirun", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 jobs, 1 training\n")
    runs = [tmp_path / "grid" / f"averaged.decay={each}" for each in ("[0.5,0.9]", "[0.9]")]
    assert differences(left_behind(runs[0]), left_behind(torchrun)) == []
    for run in runs:
        assert record_of(run)["hardware"]["processes"] == 2
        assert "epoch 2/2" in (run / "run.log").read_text()
    assert script("train.py", "--multirun", *arguments, folder=tmp_path).returncode == 0


def test_stages_of_a_chain_have_numbers_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "conf" / "chain").mkdir(parents=True)
    first, second = [*ARGUMENTS, "stop.max_steps=2"], "model.checkpoint=@one/checkpoints/last.pt"
    stages = {"one": {"overrides": first}, "two": {"like": "one", "overrides": [second]}}
    (tmp_path / "conf" / "chain" / "short.yaml").write_text(json.dumps({"stages": stages}))
    arguments = ["--config-dir=conf", "chain=short", "one.num_processes=2"]
    done = script("train.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    chain = only_run(tmp_path)
    processes = [record_of(chain / name)["hardware"]["processes"] for name in ("one", "two")]
    assert processes == [2, 1]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("train.py", ["num_processes=0"], "num_processes must be >= 1, got 0"),
        (
            "train.py",
            ["num_processes=2147483648"],
            "num_processes must be <= 64 on a machine, got 2147483648",
        ),
        (
            "train.py",
            ["num_processes=2", "hparams.batch_size=33"],
            "hparams.batch_size must be a multiple of 2 processes times accumulate_steps 1, got 33",
        ),
        (
            "train.py",
            ["--multirun", "num_processes=1,2", "hparams.batch_size=33"],
            "hparams.batch_size must be a multiple of 2 processes .*, got 33 .job num_processes=2.",
        ),
        ("tune.py", ["num_processes=2"], "num_processes must be 1 in a tuning, got 2"),
    ],
)
def test_a_mistake_is_one_line(
    name: str, arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = script(name, *arguments, folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(f"error: {message}\n", done.stderr)
    assert not list(tmp_path.glob("outputs/*/*/run.json"))
