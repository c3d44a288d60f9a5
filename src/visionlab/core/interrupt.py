"""Requests to end a run: a signal, or a pruned trial.

After a signal the run finishes the step in progress, saves its state and ends.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from visionlab.core.processes import num_processes

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
_active: list["Signals"] = []
_is_waiting = False
_has_begun = False  # whether `Signals` was entered
_interrupt: int | None = None  # the last signal that raised KeyboardInterrupt


class Interrupted(BaseException):  # `except Exception` must let it pass
    """A signal ends the run."""

    def __init__(self, number: int) -> None:
        super().__init__(number)  # all that unpickling needs
        self.number = number
        self.exit_code = 128 + number

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}"


class Pruned(Exception):  # noqa: N818 - not an error
    """An observer ended the run after an epoch; the checkpoints written so far stay."""


def remember_interrupts() -> None:
    """Let signals raise KeyboardInterrupt while a run begins; `Signals` does if it was swallowed.

    Signals that are ignored, SIGHUP by nohup, stay so.
    """
    for number in HANDLED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupted)


def _interrupted(number: int, frame: FrameType | None) -> None:
    global _interrupt
    _interrupt = number
    raise KeyboardInterrupt


def as_interrupted(error: KeyboardInterrupt | Interrupted) -> Interrupted:
    """Return the error of a process that a signal ended, with the number of the signal."""
    return error if isinstance(error, Interrupted) else Interrupted(_interrupt or signal.SIGINT)


def describe_end(error: KeyboardInterrupt | Interrupted) -> tuple[int, str]:
    """Return the exit code of a process that a signal ended, and a line about it."""
    ended = as_interrupted(error)
    return ended.exit_code, str(ended) if _has_begun else "stopped before the run began"


class Signals:
    """Context manager that defers SIGINT, SIGTERM, SIGHUP and SIGUSR2 until the loop calls `check`.

    A second signal takes effect at once, as without this class; so does the first one in a wait,
    see `interruptible`. A SIGHUP that is ignored, by nohup, stays so. Slurm announces a preemption
    with SIGUSR2. If another handler is installed for it (submitit requeues the job there), that
    handler runs on exit, once the state is saved.

    If several processes share a run, a signal to one of them is raised in all, at the same step.
    There, further signals are only recorded, because both torchrun and a scheduler may send one.

    Args:
        all_reduce: maximum over all processes of the signal numbers received, 0 for none.
    """

    def __init__(self, all_reduce: Callable[[int], int] = lambda number: number) -> None:
        self._number = 0
        self._all_reduce = all_reduce
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        global _has_begun
        if threading.current_thread() is threading.main_thread():
            if _interrupt:
                raise KeyboardInterrupt
            _has_begun = True
            is_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            self._previous = {
                number: signal.signal(number, self._handle)
                for number in HANDLED
                if not (is_nohup and number == signal.SIGHUP)
            }
            _active.append(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        previous = self._previous.get(signal.SIGUSR2)
        previous = None if previous is _interrupted else previous
        self._restore_handlers()
        if self in _active:
            _active.remove(self)
        if isinstance(error, Interrupted) and error.number == signal.SIGUSR2 and callable(previous):
            # the SIGTERM of a preemption must not kill the command that requeues the job
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            previous(signal.SIGUSR2, None)

    def check(self) -> None:
        """Raise `Interrupted` if any process of the run received a signal."""
        if number := self._all_reduce(self._number):
            raise Interrupted(number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        if num_processes() == 1:
            self._restore_handlers()
            _default_handlers()
            if _is_waiting:
                raise Interrupted(number)

    def check_in_wait(self) -> None:
        """Raise `Interrupted` if this process received a signal and shares its run with none."""
        if self._number and num_processes() == 1:
            raise Interrupted(self._number)

    def _restore_handlers(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def _default_handlers() -> None:
    """Let a further signal but Ctrl-C end the process even where it hangs in a library."""
    for number in HANDLED:
        if number != signal.SIGINT and signal.getsignal(number) is _interrupted:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let a signal that `Signals` would defer end what is a wait and may last for ever.

    Of several processes that share a run none ends alone.

    Raises:
        Interrupted: a signal came, now or before.
    """
    global _is_waiting
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, _is_waiting = _is_waiting, True
    try:
        for signals in _active:
            signals.check_in_wait()
        yield
    finally:
        _is_waiting = before
