"""Batch norm over parts of a batch, as on several devices."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SplitBatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` over each of `num_splits` parts of a batch in training."""

    num_splits: int

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input, (B, C) or (B, C, L)."""
        return _normalise(self, input) if self.training else super().forward(input)


class SplitBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` over each of `num_splits` parts of a batch in training."""

    num_splits: int

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input, (B, C, H, W)."""
        return _normalise(self, input) if self.training else super().forward(input)


_Split = SplitBatchNorm1d | SplitBatchNorm2d
_SPLIT = {nn.BatchNorm1d: SplitBatchNorm1d, nn.BatchNorm2d: SplitBatchNorm2d}


def split_batch_norms(model: nn.Module, num_splits: int) -> None:
    """Convert the batch norms of a model to split ones, in place; names and weights stay.

    Image n of a batch belongs to part n mod `num_splits`, as it does to a process. The running
    statistics are the means of those that each part would have led to. A batch with fewer than two
    images a part is split into fewer parts.

    Raises:
        ValueError: the model has no batch norm, or an unsupported kind.
    """
    if num_splits == 1:
        return
    norms = [each for each in model.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        raise ValueError(f"bn_splits must be 1 for a model without batch norm, got {num_splits}")
    for norm in norms:
        if type(norm) not in _SPLIT:
            kind = type(norm).__name__
            raise ValueError(f"bn_splits must be 1 for a model with {kind}, got {num_splits}")
        norm.__class__ = _SPLIT[type(norm)]
        norm.num_splits = num_splits  # type: ignore[assignment]


def _normalise(norm: _Split, x: Tensor) -> Tensor:
    """Normalise each part by its statistics and update the running statistics."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    count = max(1, min(norm.num_splits, len(x) // 2))
    means, variances = (each.repeat(count) for each in (norm.running_mean, norm.running_var))
    if len(x) % count == 0:
        normalised = _of_parts(norm, x, means, variances, count)
    else:
        normalised = _of_uneven_parts(norm, x, means, variances, count)
    with torch.no_grad():
        norm.running_mean.copy_(means.view(count, -1).mean(dim=0))
        norm.running_var.copy_(variances.view(count, -1).mean(dim=0))
        norm.num_batches_tracked.add_(1)
    return normalised


def _of_parts(norm: _Split, x: Tensor, means: Tensor, variances: Tensor, count: int) -> Tensor:
    """Normalise parts of one size as channels of a batch of the size of a part."""
    weight, bias = (
        None if each is None else each.repeat(count) for each in (norm.weight, norm.bias)
    )
    folded = x.reshape(len(x) // count, count * x.shape[1], *x.shape[2:])
    momentum = norm.momentum or 0.0
    folded = F.batch_norm(folded, means, variances, weight, bias, True, momentum, norm.eps)
    return folded.reshape(x.shape)


def _of_uneven_parts(
    norm: _Split, x: Tensor, means: Tensor, variances: Tensor, count: int
) -> Tensor:
    normalised = torch.empty_like(x)
    rows = zip(means.view(count, -1), variances.view(count, -1), strict=True)
    for first, (mean, var) in enumerate(rows):
        part = x[first::count]
        normalised[first::count] = _of_parts(norm, part, mean, var, 1)
    return normalised
