"""Jobs in processes of their own on this machine: a job that dies or hangs touches no other."""

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
from visionlab.sweeps.launcher import forkserver as preloaded
from visionlab.sweeps.launcher.forkserver import describe_exit, end_with_parent

_GRACE_SECONDS = 30.0  # for a process that is told to end: it saves its state
_LOOK_SECONDS = 0.5
NOT_STARTED = "it has not begun"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """How many jobs run at once, and on what.

    Attributes:
        slots: jobs at once; torch's threads are divided between them.
        devices: GPUs as `CUDA_VISIBLE_DEVICES` names them; slot i gets number i, modulo how many
            there are. None leaves the variable as it is.
        retries: how often a job that failed is started again.
        timeout_minutes: how long a job may take, or None.

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
            raise ValueError("devices must name one or be null, got []")
        if self.retries < 0:
            raise ValueError(f"retries must be >= 0, got {self.retries}")
        if self.timeout_minutes is not None and not self.timeout_minutes > 0:
            raise ValueError(f"timeout_minutes must be > 0 or null, got {self.timeout_minutes}")


@dataclass(frozen=True, kw_only=True)
class WorkItem:
    """What one process does.

    Attributes:
        name: for the log.
        function: called without arguments; returns something small that can be pickled.
        log: where what would go to standard error is written, if several run at once.
    """

    name: str
    function: Callable[[], Any]
    log: Path


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a process ended: with a value, or with the reason why there is none."""

    value: Any
    reason: str | None


@dataclass(kw_only=True)
class _Running:
    """A process and where it sends its value; `ends_by` is when it is killed."""

    number: int
    process: BaseProcess
    receiver: Connection
    began: float
    ends_by: float | None = None
    is_late: bool = False


def run_in_processes(
    works: Sequence[WorkItem], slots: PoolSettings, *, fail_fast: bool
) -> list[Outcome]:
    """Do all works, each in a process, and return how they ended, in the order of `works`.

    Args:
        works: what to do.
        slots: how many at once, and on what.
        fail_fast: whether to begin no more once one has failed for good.

    Raises:
        Interrupted: a signal came; it was passed on, and the processes have ended.
    """
    processes = _Processes(works, slots, fail_fast=fail_fast)
    interrupted: Interrupted | None = None
    try:
        with Signals() as signals:
            while processes.are_left():
                processes.fill_slots()
                processes.wait()
                try:
                    signals.check()
                except Interrupted as error:
                    interrupted = error
                    processes.end_all()
    finally:
        processes.kill_all()
    if interrupted:
        raise interrupted
    not_begun = Outcome(value=None, reason=NOT_STARTED)
    return [processes.ended.get(number, not_begun) for number in range(len(works))]


class _Processes:
    def __init__(self, works: Sequence[WorkItem], slots: PoolSettings, *, fail_fast: bool) -> None:
        self._fail_fast = fail_fast
        self.ended: dict[int, Outcome] = {}
        self._works = works
        self._slots = slots
        self._waiting = deque(range(len(works)))
        self._tries = [0] * len(works)
        self._running: dict[int, _Running] = {}

    def are_left(self) -> bool:
        return bool(self._waiting or self._running)

    def fill_slots(self) -> None:
        for slot in range(self._slots.slots):
            if self._waiting and slot not in self._running:
                number = self._waiting.popleft()
                self._tries[number] += 1
                self._say(number, "begins")
                self._running[slot] = _start(number, self._works[number], slot, self._slots)

    def wait(self) -> None:
        """Wait a moment for a process to end, and see to those that did or should have."""
        running = list(self._running.values())
        wait([each.receiver for each in running], timeout=_LOOK_SECONDS)
        for slot, each in list(self._running.items()):
            self._see_to_time(each)
            # a value is sent last, and the pipe of a process that ends without one is closed
            if each.receiver.poll() or not each.process.is_alive():
                ended = _collect(each)
                del self._running[slot]
                self._finish(each, ended)

    def end_all(self) -> None:
        """Tell all to end, and start no more."""
        self._waiting.clear()
        self._tries = [self._slots.retries + 1 for _ in self._tries]
        for each in self._running.values():
            _tell_to_end(each)

    def kill_all(self) -> None:
        for each in self._running.values():
            each.process.kill()

    def _see_to_time(self, each: _Running) -> None:
        now, minutes = time.monotonic(), self._slots.timeout_minutes
        if minutes is not None and now >= each.began + 60 * minutes:
            each.is_late = True
            _tell_to_end(each)
        if each.ends_by is not None and now >= each.ends_by:
            each.process.kill()

    def _finish(self, each: _Running, ended: Outcome) -> None:
        if ended.reason and each.is_late:
            minutes = f"{self._slots.timeout_minutes:g} minutes"
            ended = Outcome(value=None, reason=f"it took longer than {minutes} and was ended")
        seconds = time.monotonic() - each.began
        self._say(each.number, f"{ended.reason or 'ended'} after {seconds:.1f} s")
        if ended.reason and self._tries[each.number] <= self._slots.retries:
            self._say(each.number, "is tried again")
            self._waiting.appendleft(each.number)
        else:
            self.ended[each.number] = ended
            if ended.reason and self._fail_fast:
                self._waiting.clear()

    def _say(self, number: int, what: str) -> None:
        _log.info("[%d/%d] %s: %s", number + 1, len(self._works), self._works[number].name, what)


def _start(number: int, work: WorkItem, slot: int, slots: PoolSettings) -> _Running:
    receiver, sender = preloaded.CONTEXT.Pipe(duplex=False)
    process = preloaded.CONTEXT.Process(target=_work, args=(sender, work, slot, slots))
    process.start()
    sender.close()
    return _Running(number=number, process=process, receiver=receiver, began=time.monotonic())


def _tell_to_end(each: _Running) -> None:
    """Send a signal, once: a process takes the second as an order to end at once."""
    if each.ends_by is None:
        each.ends_by = time.monotonic() + _GRACE_SECONDS
        each.process.terminate()


def _collect(each: _Running) -> Outcome:
    """Return what a process sent, or how it died; data loaders may hold its pipe open for long."""
    ended: Outcome | None = None
    with suppress(EOFError, OSError):
        if each.receiver.poll():
            ended = each.receiver.recv()
    each.process.join(_GRACE_SECONDS)
    each.process.kill()
    each.process.join()
    each.receiver.close()
    return ended or Outcome(value=None, reason=f"its process {describe_exit(each.process)}")


def _work(sender: Connection, work: WorkItem, slot: int, slots: PoolSettings) -> None:
    """Do a work; in the new process."""
    os.setpgid(0, 0)  # Ctrl-C reaches the first process alone, which passes it on
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    if slots.devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(slots.devices[slot % len(slots.devices)])
    if slots.slots > 1:
        _leave_the_terminal(work.log)
    from visionlab.engine.device import divide_threads

    divide_threads(slots.slots)
    try:
        ended = Outcome(value=work.function(), reason=None)
    except Exception as error:
        ended = Outcome(value=None, reason=" ".join(str(error).split()) or type(error).__name__)
    finally:
        atexit._run_exitfuncs()  # a forked process leaves them out; they end data loaders' workers
    sender.send(ended)


def _leave_the_terminal(log: Path) -> None:
    """Print nowhere, as jobs log to files of their own; what is not logged goes there too."""
    log.parent.mkdir(parents=True, exist_ok=True)
    for number, path in ((1, Path(os.devnull)), (2, log)):
        with path.open("a") as file:
            os.dup2(file.fileno(), number)
