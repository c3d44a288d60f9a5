"""Worker processes that read samples; they are started once and reused in every epoch."""

import multiprocessing
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

Read = TypeVar("Read")


class Workers(Generic[Read]):
    """Reader of batches of rows; results do not depend on the number of workers.

    Args:
        read: reads the rows of a batch into few large tensors, since each tensor that leaves a
            worker takes a file descriptor; must be deterministic.
        num_workers: processes; 0 reads in this one.
    """

    def __init__(self, read: Callable[[list[int]], Read], *, num_workers: int) -> None:
        self._order = _Order()
        self._loader: DataLoader[Any] = DataLoader(
            range(sys.maxsize),  # type: ignore[arg-type]  # the rows, which `read` gets as a list
            batch_sampler=self._order,
            num_workers=num_workers,
            collate_fn=read,
            persistent_workers=num_workers > 0,
            worker_init_fn=_follow_the_parent,
            # draws the workers' base seed from here, not from the generator of the training run
            generator=torch.Generator().manual_seed(0),
        )
        weakref.finalize(self, _stop, self._loader)

    def batches(self, rows: Iterable[Tensor]) -> Iterator[Read]:
        """Yield the content of each batch of rows, (B,) int64 each."""
        self._order.rows = [batch.tolist() for batch in rows if len(batch)]
        yield from self._loader


class _Order:
    """Batches that are fetched next; unfinished iterations keep theirs."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.rows)


def _stop(loader: DataLoader[Any]) -> None:
    """End a loader's workers before Python sends them a SIGTERM, which they ignore."""
    if loader._iterator is not None:
        loader._iterator._shutdown_workers()  # type: ignore[attr-defined]


def _follow_the_parent(worker: int) -> None:
    """Leave signals to the parent, which finishes the current step, and exit when it is gone.

    torch checks only the process that started the worker, which may be a fork server that lives as
    long as its workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
