"""Which samples make up which batch: a function of (seed, epoch, batch size) and nothing else."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from visionlab import seeding


def num_batches(num_samples: int, batch_size: int) -> int:
    """Return how many batches an epoch has; the last, smaller one is kept."""
    return math.ceil(num_samples / batch_size)


def order_rows(num_samples: int, *, order_seed: int | None) -> Tensor:
    """Return the order of an epoch, (num_samples,) int64; without a seed it is that on disk."""
    if order_seed is None:
        return torch.arange(num_samples)
    return seeding.permutation(num_samples, seed=order_seed)


def split_batches(rows: Tensor, *, batch_size: int, first_batch: int) -> Iterator[Tensor]:
    """Yield the rows of each batch, (B,) int64, from batch number `first_batch` on."""
    return iter(torch.split(rows, batch_size)[first_batch:])


def batch_rows(
    num_samples: int, *, batch_size: int, first_batch: int, order_seed: int | None
) -> Iterator[Tensor]:
    """Yield the row numbers of each batch of an epoch: `split_batches` of `order_rows`."""
    rows = order_rows(num_samples, order_seed=order_seed)
    return split_batches(rows, batch_size=batch_size, first_batch=first_batch)
