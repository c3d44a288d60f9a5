"""Controllers of a study and whether they are alive.

A controller is a process that takes trials from a study and launches them. On the same machine the
system knows whether it is alive; on other machines a heartbeat shows it.
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
DEAD_AFTER_SECONDS = 180.0  # without a heartbeat; allows for lost ones and for clock skew
_log = logging.getLogger(__name__)


def new_controller_name() -> str:
    """Return a unique controller name."""
    return f"controller_{uuid.uuid4().hex[:12]}"


def describe_process(now: float) -> dict[str, Any]:
    """Describe this process so that others can check it; `now` is in Unix seconds."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "started": _start_ticks(pid), "beat": now}


def is_alive(controller: Mapping[str, Any], now: float) -> bool:
    """Return whether a controller is alive at `now`, in Unix seconds.

    The process id alone is not enough, because the system reuses it.
    """
    if controller["host"] == socket.gethostname() and controller["started"] is not None:
        return bool(_start_ticks(controller["pid"]) == controller["started"])
    return bool(now - controller["beat"] < DEAD_AFTER_SECONDS)


@contextmanager
def heartbeat(beat: Callable[[], None], *, every_seconds: float) -> Iterator[None]:
    """Call `beat` periodically in a thread while the context is active."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(every_seconds):
            try:
                beat()
            except Exception as error:  # a database may be briefly unavailable
                _log.warning("heartbeat failed: %s", error)

    thread = threading.Thread(target=work, daemon=True)
    beat()
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _start_ticks(pid: int) -> str | None:
    """Return the start time of a process in ticks since boot, None if it does not exist."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # gone, or a system without /proc
        return None
    return stat.rpartition(")")[2].split()[19]
