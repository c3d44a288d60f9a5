"""Locks of run folders and files, with processes that hold, stop and die."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from visionlab.core.interrupt import Interrupted, Signals
from visionlab.files import locks
from visionlab.files.locks import file_lock, is_held, locked

HOLD = """
import sys, time
from pathlib import Path
from visionlab.files.locks import file_lock, locked
path = Path(sys.argv[1])
with locked(path) if path.is_dir() else file_lock(path):
    print("held", flush=True)
    time.sleep(600)
"""
ASK = """
import sys
from pathlib import Path
from visionlab.files.locks import is_held
print(is_held(Path(sys.argv[1])))
"""


def asked_elsewhere(folder: Path) -> bool:
    command = [sys.executable, "-c", ASK, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip() == "True"


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "file.lock").touch()
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", HOLD, str(tmp_path / "file.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_process_knows_its_own_lock_and_keeps_it(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    with locked(tmp_path):
        for _ in range(2):
            assert is_held(tmp_path)
            assert is_held(tmp_path / ".." / tmp_path.name)
            assert asked_elsewhere(tmp_path)
        with pytest.raises(ValueError, match=f"{tmp_path} must not be in use"), locked(tmp_path):
            pass
        assert asked_elsewhere(tmp_path)
    assert not is_held(tmp_path)
    assert not asked_elsewhere(tmp_path)


def test_a_lock_is_seen_without_permission_to_write() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run.log").touch()
        for path, mode in ((folder / "run.log", 0o444), (folder, 0o555)):
            path.chmod(mode)
        child = os.fork()
        if not child:
            if os.geteuid() == 0:
                os.setuid(65534)
            os._exit(1 if is_held(folder) else 0)
        assert os.waitpid(child, 0)[1] == 0
        folder.chmod(0o755)


def test_a_fork_knows_that_the_lock_is_its_parents(tmp_path: Path) -> None:
    with locked(tmp_path):
        child = os.fork()
        if not child:
            os._exit(0 if is_held(tmp_path) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert asked_elsewhere(tmp_path)


def test_a_file_that_is_locked_here_may_be_locked_again(tmp_path: Path) -> None:
    (tmp_path / "run.log").touch()
    with file_lock(tmp_path / "run.log"):
        with file_lock(tmp_path / "run.log"):
            pass
        assert asked_elsewhere(tmp_path)
    assert not asked_elsewhere(tmp_path)


def test_the_lock_of_a_killed_process_is_free(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.kill()
    with file_lock(tmp_path / "file.lock"):
        pass


def test_a_stopped_holder_is_named_and_not_waited_for_without_end(
    holder: subprocess.Popen[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    holder.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(locks, "_WARN_SECONDS", 0.2)
    monkeypatch.setattr(locks, "_GIVE_UP_SECONDS", 0.6)
    path = tmp_path / "file.lock"
    with pytest.raises(ValueError, match=f"{path} must be free"), file_lock(path):
        pass
    assert f"waiting for {path}" in caplog.text


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_signal_ends_the_wait_for_a_lock(
    holder: subprocess.Popen[str], tmp_path: Path, when: str
) -> None:
    kill = f"sleep {0 if when == 'before' else 1}; kill -TERM {os.getpid()}"
    lock = file_lock(tmp_path / "file.lock")
    with Signals(), subprocess.Popen(["sh", "-c", kill]) as killer:
        if when == "before":
            killer.wait()
        with pytest.raises(Interrupted):
            lock.__enter__()
