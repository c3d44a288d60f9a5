"""Processes forked from one that has imported torch and done nothing with it.

So none waits seconds for imports, and none inherits threads, connections or a GPU in use. Where
forking is not safe they are started anew.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from visionlab.config.errors import explain, is_users

CONTEXT: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
_PRELOADED = ["visionlab.runs.train", "visionlab.sweeps.workers.trainings", "timm"]
Value = TypeVar("Value")


def start_forkserver() -> None:
    """Begin to import what processes need, so that the first does not wait long for it."""
    if CONTEXT.get_start_method() == "forkserver":
        CONTEXT.set_forkserver_preload(_PRELOADED)
        forkserver.ensure_running()


def call_in_process(function: Callable[[], Value]) -> Value:
    """Return what a function returns in a process of its own, which then ends.

    Raises:
        ValueError: it raised one, or another error that a user can mend.
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
    os.setpgid(0, 0)  # Ctrl-C is for the first process
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        sender.send((function(), None))
    except Exception as error:  # its cause would be lost on the way
        sender.send((None, ValueError(explain(error)) if is_users(error) else error))


def describe_exit(process: BaseProcess) -> str:
    """Return how a process that is no more came to its end."""
    code = process.exitcode or 0
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def end_with_parent() -> None:
    """End this process as a signal would when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
