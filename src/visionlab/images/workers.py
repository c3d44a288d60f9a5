"""Worker processes that read samples; they are started once and reused in every epoch."""

import functools
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data._utils import signal_handling

from visionlab.core.interrupt import HANDLED, interruptible
from visionlab.core.processes import exit_with_parent

Read = TypeVar("Read")
_WARN_SECONDS = 60.0
_FILES, _FILES_PER_WORKER = 16, 8  # pipes, shared tensors and their connections, at least
_WAKE = signal.SIGURG  # which nobody else uses
_log = logging.getLogger(__name__)


class Workers(Generic[Read]):
    """Reader of batches of rows; results do not depend on the number of workers.

    Args:
        read: reads the rows of a batch into a tuple of few large tensors, since each tensor that
            leaves a worker takes a file descriptor, and of other things; must be deterministic.
        num_workers: processes; 0 reads in this one.
    """

    def __init__(self, read: Callable[[list[int]], Read], *, num_workers: int) -> None:
        self._order = _Order()
        self._loader: DataLoader[Any] = DataLoader(
            range(sys.maxsize),  # type: ignore[arg-type]  # the rows, which `read` gets as a list
            batch_sampler=self._order,
            num_workers=num_workers,
            collate_fn=functools.partial(_read_shared, read),
            persistent_workers=num_workers > 0,
            worker_init_fn=_follow_the_parent,
            # draws the workers' base seed from here, not from the generator of the training run
            generator=torch.Generator().manual_seed(0),
        )
        weakref.finalize(self, _stop, self._loader)

    def batches(self, rows: Iterable[Tensor]) -> Iterator[Read]:
        """Yield the content of each batch of rows, (B,) int64 each.

        Raises:
            OSError: a worker lacks shared memory, or too few files may be open.
            Interrupted: a signal came while a batch was waited for.
        """
        if self._loader.num_workers and self._loader._iterator is None:
            _check_free_files(_FILES + _FILES_PER_WORKER * self._loader.num_workers)
        self._order.rows = [batch.tolist() for batch in rows if len(batch)]
        with _waiting() if self._loader._iterator is not None else nullcontext():
            iterator = iter(self._loader)
        while True:
            with _waiting():
                content = next(iterator, None)
            if content is None:
                return
            if isinstance(content, OSError):
                raise content
            yield content


def _check_free_files(count: int) -> None:
    """Open and close so many files; a worker that cannot open one would end with a traceback.

    Raises:
        OSError: too many are open already.
    """
    with ExitStack() as opened:
        for _ in range(count):
            opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))


class _Order:
    """Batches that are fetched next; unfinished iterations keep theirs."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.rows)


class _Watch:
    """A thread that says every minute that data is waited for, on a mount that is gone, say.

    The system may hand a signal to any thread; the system call in which the main thread waits then
    goes on, and the signal's handler never runs. So this thread interrupts it every second.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self._main: int | None = None
        if threading.current_thread() is threading.main_thread():
            self._main = threading.get_ident()
            signal.signal(_WAKE, lambda *_: None)  # or the system would drop it
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        warned = 0.0
        while True:
            time.sleep(1.0)
            since, now = self.since, time.monotonic()
            if since is None:
                continue
            if self._main is not None:
                signal.pthread_kill(self._main, _WAKE)
            if now - max(since, warned) >= _WARN_SECONDS:
                warned = now
                _log.warning(
                    "waiting for images since %.0f s: is their disk or mount there?", now - since
                )


@functools.cache
def _watch(process: int) -> _Watch:
    """Return the watch of a process: a fork has no threads."""
    return _Watch()


@contextmanager
def _waiting() -> Iterator[None]:
    """Wait for data, not silently, and not when a signal came."""
    watch = _watch(os.getpid())
    watch.since = time.monotonic()
    try:
        with interruptible():
            yield
    finally:
        watch.since = None


def _read_shared(read: Callable[[list[int]], Any], rows: list[int]) -> Any:
    """Read rows; in a worker, move the tensors to shared memory, or return why that fails.

    The thread that sends them would only print the reason, and leave the run waiting.
    """
    content = read(rows)
    if get_worker_info() is None:
        return content
    try:
        for tensor in content:
            if isinstance(tensor, Tensor) and tensor.numel():
                tensor.share_memory_()  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError) as error:
        return OSError(
            "dataset.num_workers must be 0 where shared memory, /dev/shm, cannot hold a batch "
            f"for each worker, got {str(error).splitlines()[0]}"
        )
    return content


def _stop(loader: DataLoader[Any]) -> None:
    """End a loader's workers at once: they hold nothing, and one may hang on a dead mount."""
    iterator: Any = loader._iterator
    if iterator is not None:
        if iterator._worker_pids_set:  # or torch reports that they were killed
            signal_handling._remove_worker_pids(id(iterator))  # type: ignore[attr-defined]
            iterator._worker_pids_set = False
        for worker in iterator._workers:
            worker.kill()
        iterator._shutdown_workers()


def _follow_the_parent(worker: int) -> None:
    """Leave signals to the parent, which finishes the current step, and exit when it is gone.

    torch checks only the process that started the worker, which may be a fork server that lives as
    long as its workers.
    """
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=exit_with_parent, daemon=True).start()
