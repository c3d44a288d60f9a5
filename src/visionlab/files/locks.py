"""Locks on run folders and shared files."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from visionlab.core.interrupt import interruptible

_LOCK_FILE = "run.log"
_POLL_SECONDS = 0.1
_WARN_SECONDS = 10.0
_GIVE_UP_SECONDS = 600.0
# files that this process has locked, by device and inode, with its number: forks do not inherit the
# locks. The system forgets a lock as soon as the process closes the file, opened anywhere else too
_held: dict[tuple[int, int], int] = {}
_log = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Lock a run folder; the system releases the lock when the process ends, however it ends.

    Raises:
        ValueError: the lock is still held after `wait_seconds`, by this process or another.
    """
    deadline = time.monotonic() + wait_seconds
    while (file := _try_open(folder / _LOCK_FILE)) is None:
        if time.monotonic() >= deadline:
            raise ValueError(f"{folder} must not be in use by another process")
        _pause()
    with _holding(file):
        yield


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Wait for a lock file, creating it if missing, and hold it; held already, it stays so.

    Raises:
        ValueError: another process holds it for ten minutes: it hangs, or was stopped.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if _is_ours(path):
        yield
        return
    started, warn_after = time.monotonic(), _WARN_SECONDS
    while (file := _try_open(path)) is None:
        seconds = time.monotonic() - started
        if seconds > _GIVE_UP_SECONDS:
            raise ValueError(f"{path} must be free, got one locked by another process for 600 s")
        if seconds > warn_after:
            _log.warning("waiting for %s, which another process has locked", path)
            warn_after += 60.0
        _pause()
    with _holding(file):
        yield


def is_held(folder: Path) -> bool:
    """Return whether a process holds the lock of a run folder, this one included."""
    path = folder / _LOCK_FILE
    if _is_ours(path):
        return True
    if not path.exists():
        return False
    with path.open() as file:  # a shared lock needs no permission to write
        return not _try_lock(file, fcntl.LOCK_SH)


def is_abandoned(folder: Path, status: str) -> bool:
    """Return whether a run is marked as running although no process holds its folder."""
    return status == "running" and not is_held(folder)


def _try_open(path: Path) -> TextIO | None:
    """Return a file, locked until it is closed, or None if it is locked."""
    if _is_ours(path):
        return None
    file = path.open("a")
    if _try_lock(file):
        return file
    file.close()
    return None


@contextmanager
def _holding(file: TextIO) -> Iterator[None]:
    key = _key(os.fstat(file.fileno()))
    _held[key] = os.getpid()
    try:
        with file:
            yield
    finally:
        del _held[key]


def _is_ours(path: Path) -> bool:
    return path.exists() and _held.get(_key(path.stat())) == os.getpid()


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _pause() -> None:
    with interruptible():
        time.sleep(_POLL_SECONDS)


def _try_lock(file: TextIO, kind: int = fcntl.LOCK_EX) -> bool:
    """Try to lock a file until it is closed; return whether that worked."""
    try:
        # not flock: data loader workers would inherit it and hold it for seconds after a kill
        fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise ValueError(f"{file.name} must be on a file system with locks, {error}") from error
    return True
