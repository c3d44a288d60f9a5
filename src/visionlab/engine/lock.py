"""One process at a time works in a run folder, or on a file that several share."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder; the system lets go of it when the process ends, however it ends.

    Raises:
        ValueError: another process holds it.
    """
    with (folder / "run.log").open("a") as file:
        try:
            # not flock: loader workers would share it, and hold on for seconds after a kill
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise ValueError(f"{folder} must not be in use, another process works in it") from error
        yield


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Hold a file that is there for this, as soon as no other process does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield
