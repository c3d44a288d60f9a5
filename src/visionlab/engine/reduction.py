"""Reduction of the named losses of a batch to the training loss."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor


def reduce_losses(
    losses: Mapping[str, Tensor], *, band: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """Return the scalars of a batch: `loss`, the sum, and each named loss.

    Args:
        losses: by name, each a scalar or (B,), which is averaged.
        band: rank samples by descending total loss and use only those in `kept_ranks`;
            `loss_of_all` is then the mean over all samples. All losses must be (B,).
    """
    if band is None:
        named = {name: value.mean() if value.ndim else value for name, value in losses.items()}
        return {"loss": torch.stack(list(named.values())).sum(), **named}
    sums = loss_per_sample(losses)
    assert sums is not None, "a band needs one loss per sample"
    kept = sums.detach().argsort(descending=True, stable=True)[kept_ranks(band, len(sums))]
    scalars = reduce_losses({name: value[kept] for name, value in losses.items()})
    return {**scalars, "loss_of_all": sums.detach().mean()}


def loss_per_sample(losses: Mapping[str, Tensor]) -> Tensor | None:
    """Return the total loss per sample, (B,) float32; None if a loss is a scalar."""
    if not losses or any(value.ndim == 0 for value in losses.values()):
        return None
    return torch.stack(list(losses.values())).float().sum(dim=0)


def kept_ranks(band: Sequence[float], num_samples: int) -> slice:
    """Return the ranks to keep: from floor(low * B) to floor(high * B), inclusive.

    This is at least one rank, since low is below 1. Fractions are exact decimals: 0.29 of 100
    samples is 29, but 28.999999999999996 in floating point.

    Args:
        band: low and high, 0 <= low < high <= 1.
        num_samples: B, at least 1.
    """
    low, high = (math.floor(Fraction(str(bound)) * num_samples) for bound in band)
    return slice(low, high + 1)
