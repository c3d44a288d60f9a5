"""What the processes of a run say to each other besides gradients.

Every function is called by all of them, at the same place; a single process gets back what it gave.
"""

import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from visionlab.core.processes import num_processes, rank

Made = TypeVar("Made")
Number = TypeVar("Number", int, float)


def all_reduce_sum(number: Number) -> Number:
    """Return the sum of the numbers of all processes."""
    return _reduced(number, dist.ReduceOp.SUM)


def all_reduce_max(number: Number) -> Number:
    """Return the all_reduce_max of the numbers of all processes."""
    return _reduced(number, dist.ReduceOp.MAX)


def broadcast_object(make: Callable[[], Made]) -> Made:
    """Return what the first process makes; the others get a copy, tensors on the CPU."""
    if num_processes() == 1:
        return make()
    made = [_packed(make()) if rank() == 0 else b""]
    dist.broadcast_object_list(made)
    content: Made = _unpacked(made[0])
    return content


def gather_objects(items: Iterable[Made]) -> Iterator[Made]:
    """Yield the items of all processes in the first one, by turns, tensors on the CPU.

    In the others nothing is yielded.
    """
    if num_processes() == 1:
        yield from items
        return
    found: list[Any] | None = [None] * num_processes() if rank() == 0 else None
    dist.gather_object(_packed(list(items)), found)
    for turn in itertools.zip_longest(*map(_unpacked, found or [])):
        yield from (item for item in turn if item is not None)


def _reduced(number: Number, operation: Any) -> Number:
    if num_processes() == 1:
        return number
    dtype = torch.float64 if isinstance(number, float) else torch.int64
    shared = torch.tensor(number, dtype=dtype)  # on the CPU: a GPU would have to be waited for
    dist.all_reduce(shared, operation)
    return type(number)(shared.item())


def _packed(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _unpacked(content: bytes) -> Any:
    # what the run's own processes have packed may be any object
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
