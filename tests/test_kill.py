"""Runs that are killed at any moment, and resumed, end as if nothing had happened.

`last.pt` is written after every step here, so that many of the moments are within a checkpoint.
"""

import json
import signal
from pathlib import Path

import pytest
from processes import (
    SMALL,
    differences,
    left_behind,
    only_run,
    script,
    send,
    start,
    wait_for_checkpoint,
    wait_for_checkpoints,
)

pytestmark = pytest.mark.integration

ARGUMENTS = [*SMALL, "checkpoint.every_minutes=0", "averaged.uniform=true", "tensorboard=false"]
ARGUMENTS += ["checkpoint.every_epochs=1", "checkpoint.keep=best:1"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    assert script("train.py", *ARGUMENTS, folder=folder).returncode == 0
    return only_run(folder)


def _assert_resumes_exactly(unbroken: Path, run: Path) -> None:
    done = script("train.py", f"resume={run}", folder=run.parents[2])
    assert done.returncode == 0, done.stderr
    assert differences(left_behind(unbroken), left_behind(run)) == []
    ours, theirs = (json.loads((each / "run.json").read_text()) for each in (run, unbroken))
    assert ours["results"] == theirs["results"]
    assert ours["best"] == theirs["best"]


@pytest.mark.parametrize("count", [2, 8, 15])  # of 22 and more
def test_a_killed_run_resumes_exactly(unbroken: Path, count: int, tmp_path: Path) -> None:
    process = start("train.py", *ARGUMENTS, folder=tmp_path)
    wait_for_checkpoints(tmp_path, process, count=count)
    assert send(process, signal.SIGKILL) == -signal.SIGKILL
    _assert_resumes_exactly(unbroken, only_run(tmp_path))


def test_a_run_killed_before_its_first_checkpoint_resumes_exactly(
    unbroken: Path, tmp_path: Path
) -> None:
    process = start("train.py", *ARGUMENTS, folder=tmp_path)
    while not list(tmp_path.glob("outputs/*/*/config.yaml")):
        assert process.is_alive()
    send(process, signal.SIGKILL)
    run = only_run(tmp_path)
    assert script("train.py", f"resume={run}", folder=tmp_path).returncode == 0
    assert differences(left_behind(unbroken), left_behind(run)) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_a_terminated_run_says_so_and_resumes_exactly(
    unbroken: Path, number: signal.Signals, tmp_path: Path
) -> None:
    process = start("train.py", *ARGUMENTS, folder=tmp_path)
    wait_for_checkpoint(tmp_path, process)
    assert send(process, number) == 128 + number
    run = only_run(tmp_path)
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert script("train.py", f"resume={run}", folder=tmp_path).returncode == 0
    assert differences(left_behind(unbroken), left_behind(run)) == []
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
