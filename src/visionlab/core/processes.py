"""Rank and world size of this process, its shard of the work, its end. Imports no torch.

torchrun, or `runs/processes.py`, passes rank and world size in the environment.
"""

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any

# from batches of sample rows to those of this rank
Shard = Callable[[Iterable[Any]], Iterable[Any]]


def num_processes() -> int:
    """Return the world size: the number of processes that share the run of this one."""
    return int(os.environ["WORLD_SIZE"]) if _is_torchrun() else 1


def rank() -> int:
    """Return the rank of this process in its run; rank 0 writes files."""
    return int(os.environ["RANK"]) if _is_torchrun() else 0


def local_rank() -> int:
    """Return the rank of this process among those on this machine."""
    return int(os.environ["LOCAL_RANK"]) if _is_torchrun() else 0


def num_local_processes() -> int:
    """Return the number of processes of the run on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if _is_torchrun() else 1


def unsharded(batches: Iterable[Any]) -> Iterable[Any]:
    """Return all batches, for work that one process does alone."""
    return batches


def shard_rows(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield this rank's rows of every batch: every n-th row for a world size of n."""
    return (rows[rank() :: num_processes()] for rows in batches)


def shard_batches(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield this rank's batches: every n-th one, unsharded, for a world size of n."""
    return itertools.islice(batches, rank(), None, num_processes())


def _is_torchrun() -> bool:
    # clusters also set RANK and WORLD_SIZE for other purposes
    return "TORCHELASTIC_RUN_ID" in os.environ


def describe_exit(process: BaseProcess) -> str:
    """Describe how a finished process ended."""
    code = process.exitcode or 0
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def exit_with_parent() -> None:
    """Wait for the parent process to end, then end this one at once; for a thread of its own."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
