"""One process at a time works in a run folder, or on a file that several share."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_FILE = "run.log"


@contextmanager
def locked(folder: Path, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold a run folder; the system lets go of it when the process ends, however it ends.

    Raises:
        ValueError: another process holds it, for longer than the wait.
    """
    until = time.monotonic() + wait_seconds
    with (folder / _FILE).open("a") as file:
        while not _lock(file):
            if time.monotonic() >= until:
                raise ValueError(f"{folder} must not be in use, another process works in it")
            time.sleep(0.1)
        yield


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a file that is there for this, as soon as no other process does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def is_held(folder: Path) -> bool:
    """Return whether another process holds a run folder."""
    if not (folder / _FILE).exists():
        return False
    with (folder / _FILE).open("a") as file:
        return not _lock(file)


def _lock(file: TextIO) -> bool:
    """Try to hold a file until it is closed."""
    try:
        # not flock: loader workers would share it, and hold on for seconds after a kill
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise ValueError(f"{file.name} must be on a file system with locks, {error}") from error
    return True
