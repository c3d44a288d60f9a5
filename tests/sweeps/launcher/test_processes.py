"""Jobs in processes of their own: what one does to itself touches no other."""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus

from visionlab.core.interrupt import Interrupted
from visionlab.engine.device import set_threads
from visionlab.images.workers import Workers
from visionlab.sweeps.launcher import forkserver, launch, processes
from visionlab.sweeps.launcher.processes import (
    NOT_STARTED,
    Outcome,
    PoolSettings,
    WorkItem,
    run_in_processes,
)

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork processes from this one, which has imported all they need."""
    monkeypatch.setattr(forkserver, "CONTEXT", multiprocessing.get_context("fork"))


def slots_of(**settings: Any) -> PoolSettings:
    defaults: dict[str, Any] = {"slots": 1, "devices": None, "retries": 0, "timeout_minutes": None}
    return PoolSettings(**{**defaults, **settings})


def run(
    *functions: Callable[[], Any], folder: Path = Path(), fail_fast: bool = False, **settings: Any
) -> list[Outcome]:
    works = [
        WorkItem(name=str(number), function=function, log=folder / f"{number}.log")
        for number, function in enumerate(functions)
    ]
    return run_in_processes(works, slots_of(**settings), fail_fast=fail_fast)


def give(value: Any) -> Any:
    return value


def fail() -> None:
    raise ValueError("lr must be > 0,\ngot -1")


def leave() -> None:
    sys.exit(3)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    time.sleep(1000)


def hang_deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)


def succeed_at_third_try(folder: Path) -> int:
    tries = len(list(folder.iterdir()))
    (folder / str(tries)).touch()
    if tries < 2:
        die()
    return tries


def span(folder: Path, name: str) -> tuple[float, float]:
    """Return when this process began and ended; it waits for another to be there."""
    (folder / name).touch()
    began = time.monotonic()
    while len(list(folder.iterdir())) < 2 and time.monotonic() < began + 30:
        time.sleep(0.01)
    return began, time.monotonic()


def surroundings() -> tuple[int, str | None, int]:
    return set_threads(None), os.environ.get("CUDA_VISIBLE_DEVICES"), os.getpid()


@pytest.mark.parametrize("num_slots", [1, 2])
def test_whatever_a_job_does_the_others_end(num_slots: int, tmp_path: Path) -> None:
    jobs = [functools.partial(give, 1), fail, leave, die, functools.partial(give, "a" * 200_000)]
    ended = run(*jobs, folder=tmp_path, slots=num_slots)
    assert [each.reason for each in ended] == [
        None,
        "lr must be > 0, got -1",
        "its process ended with code 3",
        "its process was killed by SIGKILL",
        None,
    ]
    assert [each.value for each in ended] == [1, None, None, None, "a" * 200_000]


def test_a_process_is_started_anew_where_forking_is_not_safe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forkserver, "CONTEXT", multiprocessing.get_context("spawn"))
    assert run(functools.partial(give, 5), die)[0] == Outcome(value=5, reason=None)


def test_slots_run_at_once_and_one_slot_one_after_another(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    jobs = [functools.partial(span, tmp_path / "a", name) for name in "xy"]
    first, second = (each.value for each in run(*jobs, folder=tmp_path, slots=2))
    assert max(first[0], second[0]) < min(first[1], second[1])
    jobs = [functools.partial(span, tmp_path, name) for name in "xy"]
    first, second = (each.value for each in run(*jobs, slots=1))
    assert first[1] < second[0]


def test_slots_divide_threads_and_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionlab.engine.device._default_threads", 8)
    ended = run(*[surroundings] * 6, folder=tmp_path, slots=3, devices=[4, 7])
    assert [each.value[0] for each in ended] == [2] * 6
    assert {each.value[1] for each in ended} == {"4", "7"}
    assert len({each.value[2] for each in ended}) == 6
    assert torch.get_num_threads() == 1
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_failed_job_is_tried_again(tmp_path: Path) -> None:
    job = functools.partial(succeed_at_third_try, tmp_path)
    assert run(job, retries=2) == [Outcome(value=2, reason=None)]
    (tmp_path / "0").unlink()
    for path in tmp_path.iterdir():
        path.unlink()
    (ended,) = run(job, retries=1)
    assert ended.reason == "its process was killed by SIGKILL"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("job", [hang, hang_deaf])
def test_a_job_that_takes_too_long_is_ended(
    job: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_GRACE_SECONDS", 1.0)
    ended = run(job, functools.partial(give, 1), timeout_minutes=0.01)
    assert ended[0].reason == "timed out (timeout_minutes=0.01)"
    assert ended[1].value == 1


def wait_for_signal(path: Path) -> str:
    """Wait for SIGTERM, and write that it came."""
    came = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: came.set())
    path.with_suffix(".ready").touch()
    while not came.wait(0.01):
        pass
    path.touch()
    return "saved"


def interrupt_when(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_is_passed_on_once_and_no_more_jobs_begin(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    args = (first.with_suffix(".ready"),)
    threading.Thread(target=interrupt_when, args=args, daemon=True).start()
    with pytest.raises(Interrupted, match="SIGTERM"):
        run(functools.partial(wait_for_signal, first), functools.partial(wait_for_signal, second))
    assert first.exists()
    assert not second.with_suffix(".ready").exists()


PARENT = """
import sys
from functools import partial
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_processes import run, wait_for_signal
if __name__ == "__main__":
    run(partial(wait_for_signal, Path(sys.argv[1])))
"""


def test_jobs_end_as_by_a_signal_when_their_parent_is_killed(tmp_path: Path) -> None:
    script, path = tmp_path / "parent.py", tmp_path / "job"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, script, path, Path(__file__).parent]) as process:
        wait_for(path.with_suffix(".ready"))
        process.kill()
    wait_for(path)


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def leave_a_child() -> None:
    """Die while a child, as of a data loader, holds what this process has open."""
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    die()


def test_a_job_is_dead_though_its_children_are_not() -> None:
    began = time.monotonic()
    assert run(leave_a_child)[0].reason == "its process was killed by SIGKILL"
    assert time.monotonic() < began + 15


_workers: list[object] = []


def read_through_workers() -> int:
    """Leave workers that ignore SIGTERM, as a training does."""
    workers = Workers(give, num_workers=1)
    _workers.append(workers)
    return len(list(workers.batches([torch.tensor([0, 1]), torch.tensor([2, 3])])))


def test_a_job_with_workers_ends_when_it_is_done() -> None:
    began = time.monotonic()
    assert run(read_through_workers) == [Outcome(value=2, reason=None)]
    assert time.monotonic() < began + 15  # and is not killed after its time of grace


def test_no_more_jobs_begin_after_one_that_failed_for_good(tmp_path: Path) -> None:
    (tmp_path / "tries").mkdir()
    late = functools.partial(succeed_at_third_try, tmp_path / "tries")
    ended = run(late, fail, functools.partial(give, 1), retries=2, fail_fast=True)
    assert [each.reason for each in ended] == [None, "lr must be > 0, got -1", NOT_STARTED]


def test_what_several_jobs_complain_of_goes_to_their_logs(tmp_path: Path) -> None:
    run(*[functools.partial(os.write, 2, b"said\n")] * 2, folder=tmp_path, slots=2)
    assert [(tmp_path / f"{number}.log").read_text() for number in (0, 1)] == ["said\n"] * 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"slots": 0}, "slots must be >= 1, got 0"),
        ({"devices": []}, "devices must name a GPU or be null"),
        ({"retries": -1}, "retries must be >= 0, got -1"),
        ({"timeout_minutes": 0.0}, "timeout_minutes must be > 0 or null, got 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slots_of(**settings)


def test_a_failed_job_does_not_print_its_overrides(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    failed = JobReturn(["lr=1"], status=JobStatus.FAILED, _return_value=ValueError("lr"))
    monkeypatch.setattr(launch, "run_job", lambda **_: failed)
    with pytest.raises(ValueError, match=r"^lr$"):
        launch._run(cloudpickle.dumps((Singleton.get_state(), None, None, None)))
    assert capfd.readouterr().err == ""
