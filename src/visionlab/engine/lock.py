"""One process at a time works in a run folder."""

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
