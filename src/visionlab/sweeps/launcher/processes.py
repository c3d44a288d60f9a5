"""A pool of processes on this machine, one per job: a crash or hang affects no other job."""

import atexit
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from visionlab.core.interrupt import Interrupted, Signals
from visionlab.core.processes import describe_exit
from visionlab.sweeps.launcher import forkserver
from visionlab.sweeps.launcher.forkserver import end_with_parent

_GRACE_SECONDS = 30.0  # from SIGTERM to SIGKILL, for a process to save its state
_POLL_SECONDS = 0.5
NOT_STARTED = "not started"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """Settings of the process pool.

    Attributes:
        slots: jobs that run at once; torch's threads are divided among them.
        devices: GPUs, named as in `CUDA_VISIBLE_DEVICES`; slot i gets number i modulo their count.
            None leaves the variable unchanged.
        retries: how often to restart a failed job.
        timeout_minutes: maximum duration of a job, or None.

    Raises:
        ValueError: a number is out of range.
    """

    slots: int
    devices: Sequence[int | str] | None
    retries: int
    timeout_minutes: float | None

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ValueError(f"slots must be >= 1, got {self.slots}")
        if self.devices is not None and not self.devices:
            raise ValueError("devices must name a GPU or be null, got []")
        if self.retries < 0:
            raise ValueError(f"retries must be >= 0, got {self.retries}")
        if self.timeout_minutes is not None and not self.timeout_minutes > 0:
            raise ValueError(f"timeout_minutes must be > 0 or null, got {self.timeout_minutes}")


@dataclass(frozen=True, kw_only=True)
class WorkItem:
    """The work of one process.

    Attributes:
        name: name in the log.
        function: called without arguments; its result must be small and picklable.
        log: file for standard error if several processes run at once.
    """

    name: str
    function: Callable[[], Any]
    log: Path


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of a process: its value, or the reason for its failure."""

    value: Any
    reason: str | None


@dataclass(kw_only=True)
class _Running:
    """A running process, the pipe for its outcome, and when to kill it."""

    number: int
    process: BaseProcess
    receiver: Connection
    started: float
    kill_at: float | None = None
    has_timed_out: bool = False


def run_in_processes(
    items: Sequence[WorkItem], pool: PoolSettings, *, fail_fast: bool
) -> list[Outcome]:
    """Run work items in separate processes and return their outcomes in the same order.

    Args:
        items: the work items.
        pool: settings of the pool.
        fail_fast: whether to start no more items once one has failed for good.

    Raises:
        Interrupted: a signal came; it was passed on, and the processes have ended.
    """
    processes = _ProcessPool(items, pool, fail_fast=fail_fast)
    interrupted: Interrupted | None = None
    try:
        with Signals() as signals:
            while processes.has_work():
                processes.fill_slots()
                processes.wait()
                try:
                    signals.check()
                except Interrupted as error:
                    interrupted = error
                    processes.terminate_all()
    finally:
        processes.kill_all()
    if interrupted:
        raise interrupted
    not_started = Outcome(value=None, reason=NOT_STARTED)
    return [processes.outcomes.get(number, not_started) for number in range(len(items))]


class _ProcessPool:
    def __init__(self, items: Sequence[WorkItem], pool: PoolSettings, *, fail_fast: bool) -> None:
        self._fail_fast = fail_fast
        self.outcomes: dict[int, Outcome] = {}
        self._items = items
        self._settings = pool
        self._waiting = deque(range(len(items)))
        self._attempts = [0] * len(items)
        self._running: dict[int, _Running] = {}

    def has_work(self) -> bool:
        return bool(self._waiting or self._running)

    def fill_slots(self) -> None:
        for slot in range(self._settings.slots):
            if self._waiting and slot not in self._running:
                number = self._waiting.popleft()
                self._attempts[number] += 1
                self._log_event(number, "started")
                self._running[slot] = _start(number, self._items[number], slot, self._settings)

    def wait(self) -> None:
        """Wait briefly for a process to end; collect finished ones and enforce the timeout."""
        running = list(self._running.values())
        wait([each.receiver for each in running], timeout=_POLL_SECONDS)
        for slot, each in list(self._running.items()):
            self._enforce_timeout(each)
            # the outcome is sent last, and the pipe of a process that ends without one is closed
            if each.receiver.poll() or not each.process.is_alive():
                outcome = _collect(each)
                del self._running[slot]
                self._finish(each, outcome)

    def terminate_all(self) -> None:
        """Send SIGTERM to all processes, and start no more."""
        self._waiting.clear()
        self._attempts = [self._settings.retries + 1 for _ in self._attempts]
        for each in self._running.values():
            _terminate(each)

    def kill_all(self) -> None:
        for each in self._running.values():
            each.process.kill()

    def _enforce_timeout(self, each: _Running) -> None:
        now, minutes = time.monotonic(), self._settings.timeout_minutes
        if minutes is not None and now >= each.started + 60 * minutes:
            each.has_timed_out = True
            _terminate(each)
        if each.kill_at is not None and now >= each.kill_at:
            each.process.kill()

    def _finish(self, each: _Running, outcome: Outcome) -> None:
        if outcome.reason and each.has_timed_out:
            reason = f"timed out (timeout_minutes={self._settings.timeout_minutes:g})"
            outcome = Outcome(value=None, reason=reason)
        seconds = time.monotonic() - each.started
        self._log_event(each.number, f"{outcome.reason or 'finished'} after {seconds:.1f} s")
        if outcome.reason and self._attempts[each.number] <= self._settings.retries:
            self._log_event(each.number, "retrying")
            self._waiting.appendleft(each.number)
        else:
            self.outcomes[each.number] = outcome
            if outcome.reason and self._fail_fast:
                self._waiting.clear()

    def _log_event(self, number: int, event: str) -> None:
        _log.info("[%d/%d] %s: %s", number + 1, len(self._items), self._items[number].name, event)


def _start(number: int, item: WorkItem, slot: int, pool: PoolSettings) -> _Running:
    receiver, sender = forkserver.CONTEXT.Pipe(duplex=False)
    process = forkserver.CONTEXT.Process(target=_run, args=(sender, item, slot, pool))
    process.start()
    sender.close()
    return _Running(number=number, process=process, receiver=receiver, started=time.monotonic())


def _terminate(each: _Running) -> None:
    """Send SIGTERM, but only once: a process ends at once on the second signal."""
    if each.kill_at is None:
        each.kill_at = time.monotonic() + _GRACE_SECONDS
        each.process.terminate()


def _collect(each: _Running) -> Outcome:
    """Return the outcome that a process sent, or how it died.

    Data loader workers may keep the pipe of a dead process open for long.
    """
    outcome: Outcome | None = None
    with suppress(EOFError, OSError):
        if each.receiver.poll():
            outcome = each.receiver.recv()
    each.process.join(_GRACE_SECONDS)
    each.process.kill()
    each.process.join()
    each.receiver.close()
    return outcome or Outcome(value=None, reason=f"its process {describe_exit(each.process)}")


def _run(sender: Connection, item: WorkItem, slot: int, pool: PoolSettings) -> None:
    """Run a work item in the new process and send its outcome."""
    os.setpgid(0, 0)  # Ctrl-C must reach only the parent process, which passes it on
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    if pool.devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(pool.devices[slot % len(pool.devices)])
    if pool.slots > 1:
        _redirect_output(item.log)
    from visionlab.engine.device import default_threads, set_default_threads

    set_default_threads(max(1, default_threads() // pool.slots))
    try:
        outcome = Outcome(value=item.function(), reason=None)
    except Exception as error:
        outcome = Outcome(value=None, reason=" ".join(str(error).split()) or type(error).__name__)
    finally:
        atexit._run_exitfuncs()  # forked processes skip them, but they end data loader workers
    sender.send(outcome)


def _redirect_output(log: Path) -> None:
    """Discard standard output, since jobs log to their own files; send standard error to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    for number, path in ((1, Path(os.devnull)), (2, log)):
        with path.open("a") as file:
            os.dup2(file.fileno(), number)
