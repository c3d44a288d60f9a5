"""Requests to end a run: a signal, or the pruning of a trial.

After a signal the step in progress is finished and the state saved, then the run ends.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from visionlab.core.processes import num_processes

_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class Interrupted(Exception):  # noqa: N818 - not an error of the run
    """A signal asked the run to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
        self.exit_code = 128 + number


class Pruned(Exception):  # noqa: N818 - not an error of the run
    """A watcher ended the run after an epoch; the checkpoints written so far stay."""


class Signals:
    """While active, SIGINT, SIGTERM and SIGUSR2 are noted, and raised where the loop asks.

    The second one takes effect at once, as without this class. Slurm warns with SIGUSR2 of a
    preemption: whoever handles it besides, as submitit does to queue the job again, comes to it
    once the state is saved and this class is left.

    Where several processes share a run, a signal to one of them is raised in all, at the same
    place; further ones are only noted, as both torchrun and a scheduler may send one.

    Args:
        agree: makes one number for all processes of those that were noted, 0 where none was.
    """

    def __init__(self, agree: Callable[[int], int] = lambda number: number) -> None:
        self._number = 0
        self._agree = agree
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in _CAUGHT}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        theirs = self._previous.get(signal.SIGUSR2)
        self._restore()
        if isinstance(error, Interrupted) and error.number == signal.SIGUSR2 and callable(theirs):
            # the SIGTERM of a preemption must not end the command that queues the job again
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            theirs(signal.SIGUSR2, None)

    def check(self) -> None:
        """Raise `Interrupted` if a signal came to any process of the run."""
        if number := self._agree(self._number):
            raise Interrupted(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        if num_processes() > 1:
            return
        for caught, handler in self._previous.items():
            signal.signal(caught, handler)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
