"""Several processes that share a run, as torchrun would have started them."""

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from processes import FORKS, start

from visionlab.engine.distributed.data_parallel import process_group
from visionlab.runs.processes import torchrun_variables


@contextmanager
def environments(count: int = 2) -> Iterator[list[dict[str, str]]]:
    """Give what torchrun puts into the environment of each process, on loopback."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    yield torchrun_variables(count, port=store.port)


def together(function: Callable[..., None], *arguments: Any, count: int = 2) -> None:
    """Call a function in processes that share a run; what fails in one of them fails here."""
    errors = FORKS.SimpleQueue()
    with environments(count) as each:
        group = [
            FORKS.Process(target=_call, args=(function, arguments, environment, errors))
            for environment in each
        ]
        for process in group:
            process.start()
        try:
            for process in group:
                process.join(120)
                assert errors.empty(), errors.get()
                assert process.exitcode == 0
        finally:
            for process in group:
                process.kill()


def _call(
    function: Callable[..., None],
    arguments: Sequence[Any],
    environment: dict[str, str],
    errors: Any,
) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        with process_group("cpu"):
            function(*arguments)
    except BaseException:
        errors.put(f"process {environment['RANK']}: {traceback.format_exc()}")
        raise


@contextmanager
def scripts(
    name: str, *arguments: str, folder: Path, aside: Path | None = None
) -> Iterator[list[BaseProcess]]:
    """Start a script in two processes that share a run, and end what is left of them.

    What process number r prints goes to files in `aside/<r>`.
    """
    group = []
    with environments() as each:
        try:
            for rank, environment in enumerate(each):
                place = aside and aside / str(rank)
                if place:
                    place.mkdir(parents=True)
                group.append(
                    start(name, *arguments, folder=folder, aside=place, environment=environment)
                )
            yield group
        finally:
            for process in group:
                process.kill()
                process.join()
