"""Rank and world size of this process, and its shard of the work. Imports no torch.

torchrun passes both in the environment.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

# from batches of sample rows to those of this rank
Shard = Callable[[Iterable[Any]], Iterable[Any]]


def num_processes() -> int:
    """Return the world size: the processes that train one run, 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if _is_torchrun() else 1


def rank() -> int:
    """Return the rank of this process in its run; rank 0 writes files."""
    return int(os.environ["RANK"]) if _is_torchrun() else 0


def local_rank() -> int:
    """Return the rank of this process among those on this machine."""
    return int(os.environ["LOCAL_RANK"]) if _is_torchrun() else 0


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
