"""Which samples make up which batch: a function of (seed, epoch, batch size) and nothing else."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from visionlab import seeding


def num_batches(num_samples: int, batch_size: int) -> int:
    """Return how many batches an epoch has; the last, smaller one is kept."""
    return math.ceil(num_samples / batch_size)


def batch_rows(
    num_samples: int, *, batch_size: int, first_batch: int, order_seed: int | None
) -> Iterator[Tensor]:
    """Yield the row numbers of each batch, (B,) int64, from batch number `first_batch` on.

    Args:
        num_samples: how many rows there are.
        batch_size: rows of a batch; the last batch may be smaller.
        first_batch: how many batches to leave out.
        order_seed: seed of the order, or None for the order on disk.
    """
    rows = (
        torch.arange(num_samples)
        if order_seed is None
        else seeding.permutation(num_samples, seed=order_seed)
    )
    return iter(torch.split(rows, batch_size)[first_batch:])
