"""Batch norm over a batch that is spread over several processes.

torch's own refuses tensors on the CPU. This one works wherever an all-gather does.
"""

from typing import Any

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class SyncBatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` with the statistics of all processes in training."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input, (B, C) or (B, C, L)."""
        return _normalised(self, input) if self.training else super().forward(input)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with the statistics of all processes in training."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input, (B, C, H, W)."""
        return _normalised(self, input) if self.training else super().forward(input)


class SyncBatchNormAct2d(BatchNormAct2d):  # type: ignore[misc]
    """timm's batch norm with an activation, with the statistics of all processes in training."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations, (B, C, H, W)."""
        if not self.training:
            return super().forward(x)  # type: ignore[no-any-return]
        return self.act(self.drop(_normalised(self, x)))  # type: ignore[no-any-return]


_SYNCHRONISED = {
    nn.BatchNorm1d: SyncBatchNorm1d,
    nn.BatchNorm2d: SyncBatchNorm2d,
    BatchNormAct2d: SyncBatchNormAct2d,
}


def synchronise_batch_norms(model: nn.Module) -> None:
    """Make the batch norms of a model synchronised ones, in place; names and weights stay.

    Raises:
        ValueError: there is a kind of batch norm that is not known here.
    """
    for module in model.modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            continue
        if type(module) not in _SYNCHRONISED:
            raise ValueError(
                f"sync_batch_norm must be false for a model with {type(module).__name__}, got true"
            )
        module.__class__ = _SYNCHRONISED[type(module)]


def _normalised(norm: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    """Normalise by the batch of all processes, and take its statistics into the running ones."""
    mean, var, count = _statistics(x.detach())
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        momentum = norm.momentum  # None stands for the plain mean of all batches
        if momentum is None:
            momentum = 1.0 / int(norm.num_batches_tracked)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.lerp_(mean, momentum)
        norm.running_var.lerp_(var * (count / (count - 1)), momentum)
    normalised: Tensor = _Normalise.apply(x, norm.weight, norm.bias, mean, var, count, norm.eps)
    return normalised


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance of each channel, (C,) float32, and how many values that is.

    From those of each process: the variance is the mean of theirs and of the squared distances of
    their means, so nothing is lost in the difference of large numbers.
    """
    values = x.transpose(0, 1).flatten(1).float()
    var, mean = torch.var_mean(values, dim=1, correction=0)
    count = mean.new_full((1,), values.shape[1])
    rows = _from_all(torch.cat([count, mean, var]))
    counts, means, variances = torch.split(rows, [1, len(mean), len(mean)], dim=1)
    total = counts.sum()
    shares = counts / total
    mean = (shares * means).sum(dim=0)
    var = (shares * (variances + (means - mean).square())).sum(dim=0)
    return mean, var, total


def _from_all(row: Tensor) -> Tensor:
    """Return the rows of all processes, (P, N)."""
    rows = [torch.empty_like(row) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, row)
    return torch.stack(rows)


class _Normalise(torch.autograd.Function):
    """Batch norm by given statistics, and its gradient, to which every process adds its part.

    The gradient is that of "Batch Normalization" (arXiv 1502.03167, section 3), with the sums over
    the batches of all processes. Those of weight and bias are this process's own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt(), count)
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, count = ctx.saved_tensors
        shape = (1, -1, *[1] * (x.ndim - 2))
        dims = [0, *range(2, x.ndim)]
        grad_of_x = grad.float()
        normalised = (x.float() - mean.view(shape)) * scale.view(shape)
        grad_weight, grad_bias = (grad_of_x * normalised).sum(dims), grad_of_x.sum(dims)
        sums = torch.stack([grad_weight, grad_bias])
        dist.all_reduce(sums)
        of_weight, of_bias = (sums / count).unbind()
        grad_of_x = grad_of_x - normalised * of_weight.view(shape) - of_bias.view(shape)
        grad_of_x = grad_of_x * (scale if weight is None else scale * weight).view(shape)
        is_affine = weight is not None
        return (
            grad_of_x.to(x.dtype),
            grad_weight if is_affine else None,
            grad_bias if is_affine else None,
            *[None] * 4,
        )
