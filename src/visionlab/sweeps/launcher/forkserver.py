"""Processes forked from a server that has imported torch but not used it.

They need not wait seconds for imports, and inherit no threads, connections or GPU in use. Where
forking is unsafe, processes are spawned instead.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from omegaconf import DictConfig

from visionlab.config.errors import explain, is_users
from visionlab.config.limits import check_address_space
from visionlab.core.processes import describe_exit

CONTEXT: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
_LOCAL = ("basic", "process")  # launchers
_PRELOADED = [
    *("visionlab.runs.train", "visionlab.sweeps.workers.trainings"),
    *("torch._dynamo", "timm"),  # for the first step of an optimizer, and most models
    *("matplotlib.figure", "matplotlib.backends.backend_agg"),  # for pictures
]
Value = TypeVar("Value")


def is_local(config: DictConfig) -> bool:
    """Return whether the launcher of a multirun or tuning runs its jobs on this machine."""
    return config.hydra.runtime.choices["hydra/launcher"] in _LOCAL


def start_forkserver() -> None:
    """Start the fork server early, so that the first process waits less for its imports.

    Raises:
        MemoryError: the limit of memory does not allow the imports.
    """
    check_address_space(_PRELOADED[0])
    if CONTEXT.get_start_method() == "forkserver":
        CONTEXT.set_forkserver_preload(_PRELOADED)
        forkserver.ensure_running()


def call_in_process(function: Callable[[], Value]) -> Value:
    """Call a function in a separate process and return its result.

    Raises:
        ValueError: the function raised an error that the user can fix.
        ChildProcessError: the process died.
    """
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_call, args=(sender, function))
    process.start()
    sender.close()
    wait([receiver, process.sentinel])
    if not receiver.poll() and not process.is_alive():
        raise ChildProcessError(f"the process that checks the jobs {describe_exit(process)}")
    value, error = receiver.recv()
    process.join()
    if error:
        raise error
    returned: Value = value
    return returned


def _call(sender: Connection, function: Callable[[], Any]) -> None:
    os.setpgid(0, 0)  # Ctrl-C must reach only the parent process
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        sender.send((function(), None))
    except Exception as error:  # pickling loses its cause
        sender.send((None, ValueError(explain(error)) if is_users(error) else error))


def end_with_parent() -> None:
    """Wait for the parent process to end, then send SIGTERM to this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
