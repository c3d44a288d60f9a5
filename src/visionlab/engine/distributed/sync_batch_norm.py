"""Synchronised batch norm over the batches of several processes.

torch's own version refuses CPU tensors. This one works wherever all-gather does.
"""

from typing import Any

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class SyncBatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` with statistics over all processes in training."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input, (B, C) or (B, C, L)."""
        return _normalise(self, input) if self.training else super().forward(input)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with statistics over all processes in training."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input, (B, C, H, W)."""
        return _normalise(self, input) if self.training else super().forward(input)


class SyncBatchNormAct2d(BatchNormAct2d):  # type: ignore[misc]
    """timm's batch norm with activation, with statistics over all processes in training."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations, (B, C, H, W)."""
        if not self.training:
            return super().forward(x)  # type: ignore[no-any-return]
        return self.act(self.drop(_normalise(self, x)))  # type: ignore[no-any-return]


_SYNCHRONISED = {
    nn.BatchNorm1d: SyncBatchNorm1d,
    nn.BatchNorm2d: SyncBatchNorm2d,
    BatchNormAct2d: SyncBatchNormAct2d,
}


def synchronise_batch_norms(model: nn.Module) -> None:
    """Convert the batch norms of a model to synchronised ones, in place; names and weights stay.

    Raises:
        ValueError: the model has an unsupported kind of batch norm.
    """
    for module in model.modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            continue
        if type(module) not in _SYNCHRONISED:
            raise ValueError(
                f"sync_batch_norm must be false for a model with {type(module).__name__}, got true"
            )
        module.__class__ = _SYNCHRONISED[type(module)]


def _normalise(norm: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    """Normalise by the statistics of the global batch and update the running statistics."""
    mean, var, count = _statistics(x.detach())
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        momentum = norm.momentum  # None means a cumulative average
        if momentum is None:
            momentum = 1.0 / int(norm.num_batches_tracked)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.lerp_(mean, momentum)
        norm.running_var.lerp_(var * (count / (count - 1)), momentum)
    normalised: Tensor = _NormaliseFunction.apply(
        x, norm.weight, norm.bias, mean, var, count, norm.eps
    )
    return normalised


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance per channel, (C,) float32, and the number of values.

    The global variance is the weighted mean of the processes' variances and of the squared
    deviations of their means, which avoids cancellation between large numbers.
    """
    values = x.transpose(0, 1).flatten(1).float()
    var, mean = torch.var_mean(values, dim=1, correction=0)
    count = mean.new_full((1,), values.shape[1])
    rows = _all_gather(torch.cat([count, mean, var]))
    counts, means, variances = torch.split(rows, [1, len(mean), len(mean)], dim=1)
    total = counts.sum()
    weights = counts / total
    mean = (weights * means).sum(dim=0)
    var = (weights * (variances + (means - mean).square())).sum(dim=0)
    return mean, var, total


def _all_gather(row: Tensor) -> Tensor:
    """Return the rows (N,) of all processes, (P, N)."""
    rows = [torch.empty_like(row) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, row)
    return torch.stack(rows)


class _NormaliseFunction(torch.autograd.Function):
    """Batch norm with given statistics, and its gradient over the global batch.

    The gradient is that of "Batch Normalization" (arXiv 1502.03167, section 3), with sums over the
    batches of all processes. The gradients of weight and bias are local to this process.
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
        grad_x = grad.float()
        normalised = (x.float() - mean.view(shape)) * scale.view(shape)
        grad_weight, grad_bias = (grad_x * normalised).sum(dims), grad_x.sum(dims)
        sums = torch.stack([grad_weight, grad_bias])
        dist.all_reduce(sums)
        mean_grad_weight, mean_grad_bias = (sums / count).unbind()
        grad_x = grad_x - normalised * mean_grad_weight.view(shape)
        grad_x = grad_x - mean_grad_bias.view(shape)
        grad_x = grad_x * (scale if weight is None else scale * weight).view(shape)
        is_affine = weight is not None
        return (
            grad_x.to(x.dtype),
            grad_weight if is_affine else None,
            grad_bias if is_affine else None,
            *[None] * 4,
        )
