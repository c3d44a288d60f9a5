"""From the losses of a batch, scalars or one value a sample, to the one that is trained on."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor


def reduced(
    losses: Mapping[str, Tensor], *, band: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """Return the scalars of a batch: `loss`, the sum, and each named loss.

    Args:
        losses: by name, each a scalar or (B,), of which the mean counts.
        band: samples are ranked by falling total loss, and only those of `ranks` count; the mean
            over all of them is then told as `loss_of_all`. All losses must be (B,).
    """
    if band is None:
        named = {name: value.mean() if value.ndim else value for name, value in losses.items()}
        return {"loss": total(named), **named}
    sums = loss_per_sample(losses)
    assert sums is not None, "a band needs a loss for each sample"
    kept = sums.detach().argsort(descending=True, stable=True)[ranks(band, len(sums))]
    of_kept = reduced({name: value[kept] for name, value in losses.items()})
    return {**of_kept, "loss_of_all": sums.detach().mean()}


def loss_per_sample(losses: Mapping[str, Tensor]) -> Tensor | None:
    """Return the sum over the names, (B,) float32; None if there is a scalar among them."""
    if not losses or any(value.ndim == 0 for value in losses.values()):
        return None
    return torch.stack(list(losses.values())).float().sum(dim=0)


def total(scalars: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of named scalars."""
    return torch.stack(list(scalars.values())).sum()


def ranks(band: Sequence[float], num_samples: int) -> slice:
    """Return which ranks are kept: from floor(low * B) up to and including floor(high * B).

    Always at least one, as low is below 1. The shares are taken as they are written in decimals:
    0.29 of 100 samples are 29, which in floating point would be 28.999999999999996.

    Args:
        band: low and high, 0 <= low < high <= 1.
        num_samples: B, at least 1.
    """
    low, high = (math.floor(Fraction(str(share)) * num_samples) for share in band)
    return slice(low, high + 1)
