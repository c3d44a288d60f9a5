"""Processes of a run that visionlab starts: ranks, results, errors, signals, and no orphans."""

import multiprocessing
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from processes import FORKS

from visionlab.core.interrupt import Interrupted, Signals
from visionlab.core.processes import num_local_processes, num_processes, rank
from visionlab.engine.device import default_threads, set_default_threads
from visionlab.engine.distributed.collectives import all_reduce_max, all_reduce_sum
from visionlab.engine.distributed.data_parallel import process_group
from visionlab.runs import processes
from visionlab.runs.processes import call_in_processes

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "CONTEXT", FORKS)


def _describe() -> tuple[int, ...]:
    with process_group("cpu"):
        total = all_reduce_sum(10 ** rank())
    return rank(), num_processes(), num_local_processes(), total, default_threads()


def test_the_result_is_that_of_the_first_of_processes_that_divide_threads() -> None:
    before = default_threads()
    set_default_threads(7)
    try:
        assert call_in_processes(_describe, count=3) == (0, 3, 3, 111, 2)
    finally:
        set_default_threads(before)
    assert num_processes() == 1


def _fail(message: str) -> None:
    with process_group("cpu"):
        raise ValueError(message) if message.startswith("model") else KeyError(message)


def test_an_error_arrives_as_one_line() -> None:
    with pytest.raises(ValueError, match=r"^model must be small, got 3$"):
        call_in_processes(partial(_fail, "model must be small, got 3"), count=2)


def test_a_fault_of_the_program_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match=r"^KeyError: 'colour'$"):
        call_in_processes(partial(_fail, "colour"), count=2)
    processes._portable(KeyError("colour"))
    assert capsys.readouterr().err == "KeyError: 'colour'\n"
    processes._portable(ValueError("model must be small, got 3"))
    assert capsys.readouterr().err == ""


def _die() -> None:
    with process_group("cpu"):
        if rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        all_reduce_max(0)


def test_a_process_that_dies_ends_the_others() -> None:
    with pytest.raises(ConnectionError, match=r"^process 1 of the run was killed by SIGKILL$"):
        call_in_processes(_die, count=2)


def _train(folder: Path) -> None:
    with process_group("cpu"), Signals(all_reduce=all_reduce_max) as signals:
        for step in range(10_000):
            (folder / f"{rank()}").write_text(f"{os.getpid()} {step}")
            time.sleep(0.01)
            signals.check()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_is_passed_on_and_all_stop_at_one_step(number: int, tmp_path: Path) -> None:
    threading.Thread(target=_signal_when_training, args=(tmp_path, number)).start()
    with pytest.raises(Interrupted) as caught:
        call_in_processes(partial(_train, tmp_path), count=2)
    assert caught.value.number == number
    (first, one), (second, other) = (_written(tmp_path, each) for each in "01")
    assert one == other < 9_999
    assert not _is_alive(first)
    assert not _is_alive(second)


def test_a_signal_while_the_processes_start_ends_them_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "CONTEXT", multiprocessing.get_context("spawn"))
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(Interrupted):
        call_in_processes(partial(_train, tmp_path), count=2)
    assert capfd.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []


def test_the_processes_die_with_the_one_that_started_them(tmp_path: Path) -> None:
    parent = FORKS.Process(target=_start_training, args=(tmp_path,))
    parent.start()
    _wait_until_training(tmp_path)
    parent.kill()
    parent.join()
    pids = [_written(tmp_path, each)[0] for each in "01"]
    end = time.monotonic() + 30
    while any(map(_is_alive, pids)):
        assert time.monotonic() < end
        time.sleep(0.05)


def _start_training(folder: Path) -> None:
    processes.CONTEXT = FORKS
    call_in_processes(partial(_train, folder), count=2)


def _signal_when_training(folder: Path, number: int) -> None:
    _wait_until_training(folder)
    os.kill(os.getpid(), number)


def _wait_until_training(folder: Path) -> None:
    end = time.monotonic() + 120
    while not all((folder / each).exists() for each in "01"):
        assert time.monotonic() < end
        time.sleep(0.05)


def _written(folder: Path, name: str) -> list[int]:
    return [*map(int, (folder / name).read_text().split())]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
