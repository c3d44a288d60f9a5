"""Requests to end a run: a signal, or a pruned trial.

After a signal the run finishes the step in progress, saves its state and ends.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from visionlab.core.processes import num_processes

_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class Interrupted(Exception):  # noqa: N818 - not an error
    """A signal asked the run to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
        self.exit_code = 128 + number


class Pruned(Exception):  # noqa: N818 - not an error
    """An observer ended the run after an epoch; the checkpoints written so far stay."""


class Signals:
    """Context manager that defers SIGINT, SIGTERM and SIGUSR2 until the loop calls `check`.

    A second signal takes effect at once, as without this class. Slurm announces a preemption with
    SIGUSR2. If another handler is installed for it (submitit requeues the job there), that handler
    runs on exit, once the state is saved.

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
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _HANDLED}
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        previous = self._previous.get(signal.SIGUSR2)
        self._restore_handlers()
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

    def _restore_handlers(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
