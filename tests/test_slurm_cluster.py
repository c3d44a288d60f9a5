"""The Slurm that other tests use: it counts what died, requeues, and leaves nothing behind."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import slurm_cluster
from slurm_cluster import job_pids, kill_node, obstacle, start_node, stop, variables


def _slurm(*command: str, folder: Path) -> str:
    environment = {**os.environ, **variables(folder)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def _submit(script: str, *, folder: Path) -> str:
    options = ["--parsable", "--output=/dev/null", "--time=5", f"--wrap={script}"]
    return _slurm("sbatch", *options, folder=folder)


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def _states(job: str, folder: Path) -> list[str]:
    """Return how each start of a job went, as the accounts have it."""
    command = ["sacct", "--duplicates", "--allocations", "--noheader", "--parsable2"]
    return _slurm(*command, "--format=State", f"--jobs={job}", folder=folder).split("\n")


@pytest.mark.slow
def test_a_job_that_is_killed_hard_has_failed_in_the_accounts(slurm: Path) -> None:
    job = _submit("kill -9 $$", folder=slurm)
    _wait(lambda: _states(job, slurm) == ["FAILED"])


@pytest.mark.slow
def test_a_job_is_requeued_when_its_node_dies(slurm: Path, tmp_path: Path) -> None:
    job = _submit(f"date >> {tmp_path}/started; test -e {tmp_path}/go || sleep 100", folder=slurm)
    _wait((tmp_path / "started").exists)
    (tmp_path / "go").touch()
    kill_node(slurm)
    assert job_pids(slurm) == []
    _wait(lambda: _slurm("sinfo", "--noheader", "--format=%t", folder=slurm).startswith("down"))
    start_node(slurm)
    _wait(lambda: _states(job, slurm) == ["NODE_FAIL", "COMPLETED"])
    assert len((tmp_path / "started").read_text().splitlines()) == 2


@pytest.mark.slow
def test_stop_ends_all_processes_and_may_be_repeated(tmp_path: Path) -> None:
    if reason := obstacle():
        pytest.skip(reason)
    slurm_cluster.start(tmp_path)
    _submit("sleep 100", folder=tmp_path)
    _wait(lambda: len(job_pids(tmp_path)) > 1)
    assert len(_processes_with(tmp_path)) >= len(slurm_cluster.DAEMONS)
    stop(tmp_path)
    assert _processes_with(tmp_path) == []
    assert list(tmp_path.glob("*.pid")) == []
    stop(tmp_path)


def _processes_with(folder: Path) -> list[str]:
    """Return the processes whose environment or arguments name a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if bytes(folder) in text:
            found.append((process / "comm").read_text().strip())
    return found


def test_without_root_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert obstacle() == "Slurm needs root"


def test_a_hostname_that_is_not_loopback_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(slurm_cluster, "_is_installed", lambda: True)
    monkeypatch.setattr("socket.gethostname", lambda: "far.example")
    monkeypatch.setattr("socket.gethostbyname", lambda _: "192.0.2.1")
    assert obstacle() == "Slurm needs a line '127.0.0.1 far' in the hosts file"
