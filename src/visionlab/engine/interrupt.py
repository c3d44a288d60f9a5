"""What ends a run from outside: a signal, or somebody who found it not worth going on.

After a signal the step in progress is finished and the state saved, then the run ends.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

_CAUGHT = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 - not an error of the run
    """A signal asked the run to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class Pruned(Exception):  # noqa: N818 - not an error of the run
    """A watcher ended the run after an epoch; the checkpoints written so far stay."""


class Signals:
    """While active, SIGINT and SIGTERM are noted, and raised where the loop asks.

    The second one takes effect at once, as without this class.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._previous: dict[int, object] = {}

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
        self._restore()

    def check(self) -> None:
        """Raise `Interrupted` if a signal came."""
        if self._number is not None:
            raise Interrupted(self._number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}
