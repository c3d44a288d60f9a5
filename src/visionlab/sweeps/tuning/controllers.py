"""Who works on a study, and whether it still lives.

A controller is a process that asks a study for trials and launches them. On its own machine the
system knows whether it lives; elsewhere a heartbeat says so.
"""

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HEARTBEAT_SECONDS = 30.0
DEAD_AFTER_SECONDS = 180.0  # so long without a beat is dead: some beats, and clocks that differ
_log = logging.getLogger(__name__)


def new_controller_name() -> str:
    """Return a name that no other controller has."""
    return f"controller_{uuid.uuid4().hex[:12]}"


def describe_process(now: float) -> dict[str, Any]:
    """Return what others need to see whether this process lives; `now` is in Unix seconds."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "started": _started(pid), "beat": now}


def is_alive(controller: Mapping[str, Any], now: float) -> bool:
    """Return whether a controller lives, at `now` in Unix seconds.

    A number of a process alone does not say so: the system gives it to another one later.
    """
    if controller["host"] == socket.gethostname() and controller["started"] is not None:
        return bool(_started(controller["pid"]) == controller["started"])
    return bool(now - controller["beat"] < DEAD_AFTER_SECONDS)


@contextmanager
def heartbeat(
    beat: Callable[[], None], *, every_seconds: float = HEARTBEAT_SECONDS
) -> Iterator[None]:
    """Call `beat` now and then, beside what is done within."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(every_seconds):
            try:
                beat()
            except Exception as error:  # a database may be away for a moment
                _log.warning("a heartbeat was lost: %s", error)

    thread = threading.Thread(target=work, daemon=True)
    beat()
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _started(pid: int) -> str | None:
    """Return when a process began, in ticks since the system did; None if there is none such."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # gone, or a system without /proc
        return None
    return stat.rpartition(")")[2].split()[19]
