"""Processes that share a run and were started by visionlab itself instead of by torchrun."""

import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, TypeVar

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from visionlab.config.errors import explain, is_users
from visionlab.config.hydra_settings import log_settings, set_up_logs
from visionlab.config.nonzero_ranks import quiet_nonzero_ranks
from visionlab.config.terminal import outlive_terminal
from visionlab.core.interrupt import (
    HANDLED,
    Interrupted,
    Signals,
    as_interrupted,
    remember_interrupts,
)
from visionlab.core.processes import describe_exit, exit_with_parent
from visionlab.engine.device import default_threads, set_default_threads

CONTEXT: Any = multiprocessing.get_context("spawn")  # a fork would inherit threads and a GPU in use
_MOST_PROCESSES = 64
_GRACE_SECONDS = 30.0  # for a process to end by itself
_PATIENCE_SECONDS = 10.0  # for rank 0 to notice that another process died, and to record it
_POLL_SECONDS = 0.5
Value = TypeVar("Value")


class _Worker(NamedTuple):
    """A process of the run, and the pipe for its result or error."""

    process: BaseProcess
    receiver: Connection


def call_in_processes(function: Callable[[], Value], *, count: int) -> Value:
    """Call a function in `count` new processes of one run on this machine; return rank 0's result.

    The processes are told what torchrun would tell them, divide torch's threads among them and end
    with this one. Signals are passed on to them.

    Args:
        function: picklable, as is its result; only that of rank 0 is used.
        count: at least 2.

    Raises:
        ValueError: a process met an error that the user can mend.
        Interrupted: a signal ended the run.
        ConnectionError: a process died.
    """
    if count > _MOST_PROCESSES:
        raise ValueError(f"num_processes must be <= {_MOST_PROCESSES} on a machine, got {count}")
    torch.cuda.empty_cache()  # of earlier stages of a chain
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    threads, logs = max(1, default_threads() // count), log_settings()
    with Signals() as signals:
        workers: list[_Worker] = []
        try:
            with _blocked_signals():
                for environment in torchrun_variables(count, port=store.port):
                    workers.append(_start(function, environment, threads, logs))
            result: Value = _wait_for_result(workers, signals)
            return result
        except BaseException as error:
            # rank 0 alone writes files; it ends by itself once it misses the others
            is_urgent = isinstance(error, KeyboardInterrupt)  # the second Ctrl-C
            for worker in workers[0 if is_urgent else 1 :]:
                worker.process.kill()
            raise
        finally:
            _end(workers)


def torchrun_variables(count: int, *, port: int) -> list[dict[str, str]]:
    """Return the environment variables by rank that torchrun sets on one machine.

    A process of this machine serves the key-value store at `port`.
    """
    return [
        {
            "TORCHELASTIC_RUN_ID": "visionlab",
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
        }
        for rank in range(count)
    ]


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """Hold signals back here, and in processes started meanwhile until they unblock them."""
    resource_tracker.ensure_running()  # its start would unblock some
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(
    function: Callable[[], Any], environment: dict[str, str], threads: int, logs: Any
) -> _Worker:
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_work, args=(sender, function, environment, threads, logs))
    process.start()
    sender.close()
    return _Worker(process, receiver)


def _wait_for_result(workers: Sequence[_Worker], signals: Signals) -> Any:
    """Return what rank 0 returned, or raise the first error of any process."""
    pending, is_passed_on = dict(enumerate(workers)), False
    while True:
        wait([each.receiver for each in pending.values()], timeout=_POLL_SECONDS)
        is_passed_on = is_passed_on or _pass_on_signal(workers, signals)
        for rank, (process, receiver) in list(pending.items()):
            if receiver.poll() or not process.is_alive():
                del pending[rank]
                value = _receive(rank, workers, signals)
                if rank == 0:
                    return value


def _pass_on_signal(workers: Sequence[_Worker], signals: Signals) -> bool:
    """Send the signal that this process received to all of the run; return whether there is one."""
    try:
        signals.check()
    except Interrupted as interrupted:
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker.process.pid or 0, interrupted.number)
        return True
    return False


def _receive(rank: int, workers: Sequence[_Worker], signals: Signals) -> Any:
    """Return what a process returned, or raise its error, or that it died."""
    receiver = workers[rank].receiver
    value, error = None, ConnectionError("a process of the run ended before the others")
    with suppress(EOFError):
        if receiver.poll():  # a dead process's data loader workers may keep its pipe open
            value, error = receiver.recv()
    if isinstance(error, ConnectionError):
        workers[0].process.join(_PATIENCE_SECONDS)
        signals.check()
        raise _death(workers) or error
    if error is not None:
        raise error
    return value


def _death(workers: Sequence[_Worker]) -> ConnectionError | None:
    """Return an error that names the process that died, None if there is none."""
    first, *others = [each.process for each in workers]
    if not first.exitcode:
        wait([each.sentinel for each in others], timeout=_PATIENCE_SECONDS)
    for rank, process in enumerate([first, *others]):
        if process.exitcode:
            return ConnectionError(f"process {rank} of the run {describe_exit(process)}")
    return None


def _end(workers: Sequence[_Worker]) -> None:
    """Wait for the processes to end, and kill those that do not."""
    end = time.monotonic() + _GRACE_SECONDS
    for process, receiver in workers:
        process.join(max(0.0, end - time.monotonic()))
        process.kill()
        process.join()
        receiver.close()


def _work(
    sender: Connection,
    function: Callable[[], Any],
    environment: dict[str, str],
    threads: int,
    logs: Any,
) -> None:
    """Call the function in a new process and send its result or its error."""
    os.setpgid(0, 0)  # Ctrl-C must reach only the parent process, which passes it on
    threading.Thread(target=exit_with_parent, daemon=True).start()
    os.environ.update(environment)
    set_default_threads(threads)
    value: Any = None
    error: BaseException | None = None
    try:
        remember_interrupts()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        outlive_terminal()
        logging.raiseExceptions = False
        set_up_logs(logs)
        with quiet_nonzero_ranks():
            value = function()
    except SystemExit:
        pass  # another rank than 0 after a signal, which rank 0 reports
    except (KeyboardInterrupt, Interrupted) as caught:
        error = as_interrupted(caught)
    except Exception as caught:
        error = _portable(caught)
    sender.send((value, error))


def _portable(error: Exception) -> Exception:
    """Return an error that survives pickling; print the traceback of a fault of the program."""
    if not is_users(error) or os.environ.get("VISIONLAB_TRACEBACK"):
        traceback.print_exception(error)
    if is_users(error):
        kind = ConnectionError if isinstance(error, ConnectionError) else ValueError
        return kind(explain(error))
    return RuntimeError(f"{type(error).__name__}: {error}")
