"""Workers that die, hang, or lack shared memory."""

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from visionlab.config.errors import explain, is_users
from visionlab.core.interrupt import HANDLED, Interrupted, Signals
from visionlab.images import workers
from visionlab.images.workers import Workers

pytestmark = pytest.mark.integration
ROWS = torch.split(torch.arange(400), 4)
WITHOUT_SHARED_MEMORY = """
import torch
from visionlab.images.workers import Workers
def read(rows): return (torch.zeros(100_000),)
try:
    list(Workers(read, num_workers=2).batches(torch.arange(8).split(2)))
except OSError as error:
    print(error)
"""


def read(slow: float, rows: list[int]) -> tuple[Tensor, int]:
    time.sleep(slow)
    return torch.tensor(rows), os.getpid()


def begun(slow: float) -> tuple[Workers[tuple[Tensor, int]], Iterator[tuple[Tensor, int]], int]:
    """Return two workers, what they read, and the number of one of the processes."""
    pool = Workers(functools.partial(read, slow), num_workers=2)
    batches = pool.batches(ROWS)
    return pool, batches, next(batches)[1]


def test_a_worker_that_is_killed_ends_in_one_line() -> None:
    pool, batches, worker = begun(slow=0.05)
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(RuntimeError) as error:
        list(batches)
    assert is_users(error.value)
    line = explain(error.value)
    assert line.startswith("dataset.num_workers must")
    assert str(worker) in line
    del pool


def test_workers_leave_every_signal_to_their_parent() -> None:
    _, batches, worker = begun(slow=0.01)
    for number in HANDLED:
        os.kill(worker, number)
    read_rows = [rows for rows, _ in batches]
    assert torch.equal(torch.cat(read_rows), torch.arange(4, 400))


@pytest.mark.parametrize("is_taken_elsewhere", [False, True])
def test_a_signal_ends_the_wait_for_a_worker_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_taken_elsewhere: bool
) -> None:
    monkeypatch.setattr(workers, "_WARN_SECONDS", 1.0)
    pool, batches, worker = begun(slow=0.0)
    other = next(pid for _, pid in batches if pid != worker)
    for stopped in (worker, other):
        os.kill(stopped, signal.SIGSTOP)
    kill = ["sh", "-c", f"sleep 4; kill -TERM {os.getpid()}"]
    if is_taken_elsewhere:  # by another thread, so that no system call of this one is interrupted
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        with Signals(), subprocess.Popen(kill), pytest.raises(Interrupted):
            list(batches)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    assert "waiting for images" in caplog.text
    del batches, pool
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{each}").exists() for each in (worker, other)):
        assert time.monotonic() < deadline, "a worker that hung is still there"
        time.sleep(0.1)


def test_a_signal_ends_a_read_in_this_process(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dead")  # reading it waits for a writer

    def read_fifo(rows: list[int]) -> bytes:
        try:
            return (tmp_path / "dead").read_bytes()
        except Exception:  # as decoders of damaged files do
            return b""

    batches = Workers(read_fifo, num_workers=0).batches(ROWS)
    kill = ["sh", "-c", f"sleep 1; kill -HUP {os.getpid()}"]
    with Signals(), subprocess.Popen(kill), pytest.raises(Interrupted):
        next(batches)


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-Urm", "true"], check=False, capture_output=True).returncode
    != 0,
    reason="needs a mount of its own",
)
def test_too_little_shared_memory_is_an_error_and_no_endless_wait(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "-Urm", "sh", "-c", mount, "sh", sys.executable, "-c"]
    done = subprocess.run(
        [*command, WITHOUT_SHARED_MEMORY],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.startswith("dataset.num_workers must be 0 where shared memory, /dev/shm")
    assert done.stdout.count("\n") == 1
