"""Locks on run folders and shared files."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_LOCK_FILE = "run.log"


@contextmanager
def locked(folder: Path, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Lock a run folder; the system releases the lock when the process ends, however it ends.

    Raises:
        ValueError: another process still holds the lock after `wait_seconds`.
    """
    deadline = time.monotonic() + wait_seconds
    with (folder / _LOCK_FILE).open("a") as file:
        while not _try_lock(file):
            if time.monotonic() >= deadline:
                raise ValueError(f"{folder} must not be in use by another process")
            time.sleep(0.1)
        yield


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Wait for a lock file, creating it if missing, and hold it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def is_held(folder: Path) -> bool:
    """Return whether another process holds the lock of a run folder."""
    if not (folder / _LOCK_FILE).exists():
        return False
    with (folder / _LOCK_FILE).open("a") as file:
        return not _try_lock(file)


def _try_lock(file: TextIO) -> bool:
    """Try to lock a file until it is closed; return whether that worked."""
    try:
        # not flock: data loader workers would inherit it and hold it for seconds after a kill
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise ValueError(f"{file.name} must be on a file system with locks, {error}") from error
    return True
