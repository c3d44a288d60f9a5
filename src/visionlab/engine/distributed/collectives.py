"""Collectives of a run's processes, other than for gradients.

All ranks must call these functions at the same point; with one process they return their input.
"""

import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from visionlab.core.processes import num_processes, rank

T = TypeVar("T")
Number = TypeVar("Number", int, float)


def all_reduce_sum(number: Number) -> Number:
    """Return the sum of a number over all processes."""
    return _all_reduce(number, dist.ReduceOp.SUM)


def all_reduce_max(number: Number) -> Number:
    """Return the maximum of a number over all processes."""
    return _all_reduce(number, dist.ReduceOp.MAX)


def broadcast_object(make: Callable[[], T]) -> T:
    """Call `make` on rank 0 and return its result on all ranks; copies have tensors on the CPU."""
    if num_processes() == 1:
        return make()
    packed = [_pack(make()) if rank() == 0 else b""]
    dist.broadcast_object_list(packed)
    value: T = _unpack(packed[0])
    return value


def gather_objects(items: Iterable[T]) -> Iterator[T]:
    """Yield the items of all ranks on rank 0, interleaved, with tensors on the CPU.

    Other ranks yield nothing.
    """
    if num_processes() == 1:
        yield from items
        return
    gather_objects: list[Any] | None = [None] * num_processes() if rank() == 0 else None
    dist.gather_object(_pack(list(items)), gather_objects)
    for row in itertools.zip_longest(*map(_unpack, gather_objects or [])):
        yield from (item for item in row if item is not None)


def _all_reduce(number: Number, operation: Any) -> Number:
    if num_processes() == 1:
        return number
    dtype = torch.float64 if isinstance(number, float) else torch.int64
    shared = torch.tensor(number, dtype=dtype)  # on the CPU, to avoid synchronising with a GPU
    dist.all_reduce(shared, operation)
    return type(number)(shared.item())


def _pack(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _unpack(content: bytes) -> Any:
    # any object is safe here: the run's own processes packed it
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
