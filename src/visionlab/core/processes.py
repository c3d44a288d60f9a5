"""Which of a run's processes this is, and which part of the work is its own. Imports no torch.

torchrun tells each process in its environment.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Share = Callable[[Iterable[Any]], Iterable[Any]]  # of batches, each the rows of its samples


def num_processes() -> int:
    """Return how many processes train a run together; 1 unless torchrun started more."""
    return int(os.environ["WORLD_SIZE"]) if _is_of_torchrun() else 1


def rank() -> int:
    """Return the number of this process among those of its run; the first, 0, writes files."""
    return int(os.environ["RANK"]) if _is_of_torchrun() else 0


def local_rank() -> int:
    """Return the number of this process among those of its run on this machine."""
    return int(os.environ["LOCAL_RANK"]) if _is_of_torchrun() else 0


def unsharded(batches: Iterable[Any]) -> Iterable[Any]:
    """Return batches as they are, for what a process does alone."""
    return batches


def shard_rows(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield this process's rows of every batch: of n processes each takes every n-th row."""
    return (rows[rank() :: num_processes()] for rows in batches)


def shard_batches(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield this process's batches, unchanged: of n processes each takes every n-th."""
    return itertools.islice(batches, rank(), None, num_processes())


def _is_of_torchrun() -> bool:
    # clusters set RANK and WORLD_SIZE for other purposes too
    return "TORCHELASTIC_RUN_ID" in os.environ
