"""Silence of a run's nonzero ranks: rank 0 alone writes files and talks. Imports no torch."""

import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visionlab.core.interrupt import Interrupted
from visionlab.core.processes import rank

_PATIENCE_SECONDS = 10.0
_made: list[Path] = []


def nonzero_rank_folder() -> str | None:
    """Return an empty folder for Hydra, in a process that has to write nothing; else None."""
    if rank() == 0:
        return None
    _made.append(Path(tempfile.mkdtemp(prefix="visionlab_")))
    return str(_made[-1])


@contextmanager
def quiet_nonzero_ranks() -> Iterator[None]:
    """Silence nonzero ranks except for errors that rank 0 does not have.

    Once rank 0 has reported an error and ended, torchrun ends the others. An error of another rank
    alone leaves rank 0 waiting and is reported after a delay.
    """
    if rank() > 0:
        _write_nothing()
    try:
        yield
    except Interrupted as error:
        if rank() > 0:
            sys.exit(error.exit_code)
        raise
    except Exception:
        if rank() > 0:
            time.sleep(_PATIENCE_SECONDS)
        raise


def _write_nothing() -> None:
    logging.disable(logging.WARNING)
    root = logging.getLogger()
    for handler in list(root.handlers):
        handler.setFormatter(logging.Formatter(f"process {rank()}: %(message)s"))
        if isinstance(handler, logging.FileHandler):
            root.removeHandler(handler)
            handler.close()
    while _made:
        folder = _made.pop()
        (folder / "run.log").unlink(missing_ok=True)
        folder.rmdir()
