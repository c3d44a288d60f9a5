"""A study on a real PostgreSQL server, which several processes share; it is set up on loopback."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from processes import FORKS
from studies import Launcher, plan, study_of

from visionlab.sweeps.tuning.plan import Plan
from visionlab.sweeps.tuning.tuning import tune

pytestmark = [pytest.mark.slow, pytest.mark.integration]
NUM_PROCESSES, N_TRIALS = 4, 12


def _program(name: str) -> str | None:
    """Find a program of the server, which Debian keeps off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def _as_somebody(*command: str) -> None:
    """Run a command as a user who is not root, whom the server refuses."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    subprocess.run([*prefix, *command], check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=60)


@pytest.fixture
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("psycopg2", reason="PostgreSQL's driver is not installed")
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("postgresql")
    if os.getuid() == 0:
        for parent in (folder.parent.parent, folder.parent):
            parent.chmod(0o711)
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = str(folder / "data")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    _as_somebody(initdb, "-D", data, "-A", "trust", "-U", "tuner")
    log = str(folder / "log")
    _as_somebody(pg_ctl, "-D", data, "-o", options, "-l", log, "-w", "start")
    yield f"postgresql://tuner@127.0.0.1:{port}/postgres"
    _as_somebody(pg_ctl, "-D", data, "-m", "immediate", "-w", "stop")


def _tuning(folder: Path, url: str) -> Plan:
    return plan(folder, url=url, n_trials=N_TRIALS)


def _tune(folder: Path, url: str, start: Any) -> None:
    tuning = _tuning(folder, url)
    start.wait(60)
    tune(tuning, Launcher(tuning, seconds=0.1))


def test_processes_on_a_fresh_server_share_the_trials_of_a_study(url: str, tmp_path: Path) -> None:
    start = FORKS.Barrier(NUM_PROCESSES)
    processes = [
        FORKS.Process(target=_tune, args=(tmp_path, url, start)) for _ in range(NUM_PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
    assert [process.exitcode for process in processes] == [0] * NUM_PROCESSES
    trials = study_of(_tuning(tmp_path, url)).trials()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert len(complete) == N_TRIALS
    assert len({trial.params["optimizer.lr"] for trial in complete}) == N_TRIALS
    reasons = [trial.user_attrs["reason"] for trial in trials if trial.state == TrialState.FAIL]
    assert set(reasons) <= {"exceeds n_trials"}
    assert len({trial.user_attrs["controller"] for trial in complete}) > 1
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 1 + len(trials)
