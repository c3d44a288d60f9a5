"""Which samples make up which batch: a function of (seed, epoch, batch size) and nothing else."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from visionlab.core import seeding

_ASPECT_SPREAD = 0.2  # of the logarithm: shapes that differ by up to a fifth may share a batch


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


def aspect_batches(
    aspects: Tensor, *, batch_size: int, first_batch: int, order_seed: int
) -> Iterator[Tensor]:
    """Yield the rows of each batch of an epoch so that images of a batch have a like shape.

    Samples are sorted by aspect, each time made a little different, so that they meet others every
    epoch; the batches are shuffled last.

    Args:
        aspects: (N,) width over height of each sample's canvas.
        batch_size: samples of a batch; one batch may have fewer.
        first_batch: how many batches are left out.
        order_seed: of this epoch.
    """
    draws = seeding.uniform(
        torch.arange(len(aspects)), seed=seeding.derive(order_seed, "samples"), num_draws=1
    )
    nearly = aspects.double().log() + _ASPECT_SPREAD * draws[:, 0].double()
    batches = torch.split(nearly.argsort(stable=True), batch_size)
    order = seeding.permutation(len(batches), seed=seeding.derive(order_seed, "batches"))
    return iter([batches[number] for number in order[first_batch:].tolist()])


def equal_batches(groups: Tensor, *, batch_size: int) -> list[Tensor]:
    """Return the rows of batches whose samples are all of one group, in a fixed order.

    A sample is then evaluated alike whatever else is in its batch.

    Args:
        groups: (N,) int64, for example the number of each sample's canvas size.
        batch_size: samples of a batch at most.
    """
    batches: list[Tensor] = []
    for group in torch.unique(groups):
        batches += torch.split((groups == group).nonzero()[:, 0], batch_size)
    return batches
