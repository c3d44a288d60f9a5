"""Focal loss over many anchors, nearly all of which are background."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_CHUNK = 2**18  # numbers that stay in a core's cache
_GPU_CHUNK = 2**25  # numbers of which a GPU holds several copies beside everything else


def focal_loss(
    logits: Tensor, weights: Tensor, positives: tuple[Tensor, ...], *, alpha: float, gamma: float
) -> Tensor:
    """Return the sum of the focal loss (arXiv 1708.02002, equation 5), computed on logits.

    The loss of all anchors as background is computed in one pass; the few positives are corrected
    afterwards.

    Args:
        logits: (B, A, C).
        weights: (B, A), 0 for ignored anchors, else 1.
        positives: image, anchor and class of each positive, (P,) int64 each, without duplicates.
        alpha: weight of the positive class; that of the negative one is 1 - alpha.
        gamma: focusing exponent, which reduces the weight of easy examples.

    Returns:
        A scalar in float32, or float64 for such logits.
    """
    dense: Tensor = _Background.apply(logits, weights, positives, gamma)
    found = logits[positives]
    found = found.double() if found.dtype == torch.float64 else found.float()
    false_part = (_background(found.detach(), gamma) * weights[positives[:2]]).sum()
    true_part = _background(-found, gamma).sum()
    return (1.0 - alpha) * (dense - false_part) + alpha * true_part


def _background(logits: Tensor, gamma: float) -> Tensor:
    """Return p ** gamma * -log(1 - p) with p = sigmoid(logits)."""
    # not sigmoid ** gamma: its gradient is NaN for gamma below 1 if p is 0 in float32
    return (gamma * F.logsigmoid(logits)).exp() * F.softplus(logits)


class _Background(torch.autograd.Function):
    """Weighted sum of `_background`, with value and gradient in one pass.

    The gradient of positives is set to 0 here. Subtracting it afterwards would leave a rounding
    error that in bfloat16 exceeds their own gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, weights: Tensor, positives: tuple[Tensor, ...], gamma: float
    ) -> Tensor:
        rows, columns = weights.numel(), logits.shape[-1]
        flat, flat_weights = logits.reshape(rows, columns), weights.reshape(rows, 1)
        gradient = torch.empty_like(flat) if ctx.needs_input_grad[0] else None
        step = max(1, (_CHUNK if logits.device.type == "cpu" else _GPU_CHUNK) // columns)
        sums = []
        for start in range(0, rows, step):
            part = slice(start, start + step)
            x = flat[part] if logits.dtype == torch.float64 else flat[part].float()
            p, cost = x.sigmoid(), F.softplus(x)
            weighted = p**gamma * flat_weights[part]
            sums.append((weighted * cost).sum())
            if gradient is not None:
                gradient[part] = weighted * (gamma * (1.0 - p) * cost + p)
        if gradient is not None:
            gradient = gradient.view_as(logits)
            gradient[positives] = 0.0
            ctx.save_for_backward(gradient)
        return torch.stack(sums).sum() if sums else logits.sum() * 0.0

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient.to(grad_output) * grad_output).to(gradient.dtype), None, None, None
