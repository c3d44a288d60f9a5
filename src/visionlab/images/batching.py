"""Order of samples and batches: a function of (seed, epoch, batch size) and nothing else.

Every function that ends in `_batches` returns the rows of each batch of an epoch, (B,) int64.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from visionlab.core import seeding

_ASPECT_SPREAD = 0.2  # of the logarithm: shapes that differ by up to a fifth may share a batch


class BatchOrder(Protocol):
    """The batches of a split; their number does not depend on the epoch."""

    def __call__(self, *, batch_size: int, epoch: int) -> Sequence[Tensor]:
        """Return the rows of each batch of an epoch (counted from 0), (B,) int64 each."""


def epoch_order(num_samples: int, *, seed: int | None, epoch: int) -> Tensor:
    """Return the rows in the order of an epoch counted from 0, (num_samples,) int64.

    Without a seed, rows are in ascending order.
    """
    if seed is None:
        return torch.arange(num_samples)
    return seeding.permutation(num_samples, seed=seeding.derive(seed, "order", epoch))


def plain_batches(
    num_samples: int, *, seed: int | None, batch_size: int, epoch: int
) -> Sequence[Tensor]:
    """Cut `epoch_order` into batches; the last one may be smaller."""
    return torch.split(epoch_order(num_samples, seed=seed, epoch=epoch), batch_size)


def aspect_batches(aspects: Tensor, *, seed: int, batch_size: int, epoch: int) -> Sequence[Tensor]:
    """Return batches of images with similar aspect ratios; one batch may be smaller.

    Samples are sorted by aspect ratio, (N,) width over height of their canvas, with a little noise,
    so batches differ from epoch to epoch; then the batches are shuffled.
    """
    order_seed = seeding.derive(seed, "order", epoch)
    draws = seeding.uniform(
        torch.arange(len(aspects)), seed=seeding.derive(order_seed, "samples"), num_draws=1
    )
    noisy = aspects.double().log() + _ASPECT_SPREAD * draws[:, 0].double()
    batches = torch.split(noisy.argsort(stable=True), batch_size)
    order = seeding.permutation(len(batches), seed=seeding.derive(order_seed, "batches"))
    return [batches[number] for number in order.tolist()]


def group_batches(groups: Tensor, *, batch_size: int, epoch: int) -> Sequence[Tensor]:
    """Return batches whose samples are all of one group, (N,) int64, the same in every epoch.

    The result for a sample then does not depend on the rest of its batch.
    """
    batches: list[Tensor] = []
    for group in torch.unique(groups):
        batches += torch.split((groups == group).nonzero()[:, 0], batch_size)
    return batches
