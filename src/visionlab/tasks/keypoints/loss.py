"""Losses of points: one value per sample, over its known points, in input pixels and float32.

A sample without any known point has the loss 0.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from visionlab.core.checks import check_at_least, check_positive
from visionlab.tasks.keypoints.records import PointTargets


@dataclass(frozen=True, kw_only=True)
class Mse:
    """Mean squared difference of the coordinates."""

    is_per_sample: ClassVar[bool] = True

    def __call__(self, outputs: Tensor, targets: PointTargets) -> dict[str, Tensor]:
        """Return `mse`, (B,), for points (B, K, 2)."""
        return {"mse": _mean(_differences(outputs, targets).square().mean(dim=2), targets)}


@dataclass(frozen=True, kw_only=True)
class SmoothL1:
    """Mean smooth L1 loss of the coordinates (Fast R-CNN, arXiv 1504.08083, equation 3).

    Attributes:
        beta: a difference d below beta pixels costs d^2 / (2 beta), a larger one d - beta / 2. 0 is
            the L1 loss.
    """

    is_per_sample: ClassVar[bool] = True
    beta: float

    def __post_init__(self) -> None:
        check_at_least(self, 0, "beta")

    def __call__(self, outputs: Tensor, targets: PointTargets) -> dict[str, Tensor]:
        """Return `smooth_l1`, (B,), for points (B, K, 2)."""
        differences = _differences(outputs, targets)
        losses = F.smooth_l1_loss(
            differences, torch.zeros_like(differences), beta=self.beta, reduction="none"
        )
        return {"smooth_l1": _mean(losses.mean(dim=2), targets)}


@dataclass(frozen=True, kw_only=True)
class Wing:
    """Mean wing loss of the coordinates (Feng et al., arXiv 1711.06753, equation 5).

    Attributes:
        width: w, in pixels; below it the loss is w ln(1 + |x| / curvature), above it |x| minus the
            constant that makes it continuous.
        curvature: epsilon, in pixels.
    """

    is_per_sample: ClassVar[bool] = True
    width: float
    curvature: float

    def __post_init__(self) -> None:
        check_positive(self, "width", "curvature")

    def __call__(self, outputs: Tensor, targets: PointTargets) -> dict[str, Tensor]:
        """Return `wing`, (B,), for points (B, K, 2)."""
        sizes = _differences(outputs, targets).abs()
        inner = self.width * torch.log1p(sizes / self.curvature)
        joint = self.width - self.width * math.log1p(self.width / self.curvature)
        losses = torch.where(sizes < self.width, inner, sizes - joint)
        return {"wing": _mean(losses.mean(dim=2), targets)}


@dataclass(frozen=True, kw_only=True)
class Enme:
    """(alpha + 1) d - alpha ln cosh d of the mean distance d of a sample's points, in pixels.

    The loss of the thousand-landmarks contest entry that visionlab reproduces, with alpha = 2. Its
    slope falls from alpha + 1 at 0 to 1. Computed as d - alpha ln((1 + exp(-2 d)) / 2), which is
    equal and does not overflow, as cosh does from 88 pixels on.

    Attributes:
        alpha: additional slope at 0.
    """

    is_per_sample: ClassVar[bool] = True
    alpha: float

    def __post_init__(self) -> None:
        check_at_least(self, 0, "alpha")

    def __call__(self, outputs: Tensor, targets: PointTargets) -> dict[str, Tensor]:
        """Return `enme`, (B,), for points (B, K, 2)."""
        distances = torch.linalg.vector_norm(_differences(outputs, targets), dim=2)
        mean = _mean(distances, targets)
        return {"enme": mean - self.alpha * torch.log1p(torch.expm1(-2.0 * mean) / 2.0)}


@torch.no_grad()
def error_px(outputs: Tensor, targets: PointTargets) -> dict[str, Tensor]:
    """Return the mean distance of a batch's points in input pixels, a scalar, for drawing."""
    distances = torch.linalg.vector_norm(_differences(outputs, targets), dim=2)
    return {"error_px": distances.sum() / targets.is_known.sum().clamp(min=1)}


def _differences(outputs: Tensor, targets: PointTargets) -> Tensor:
    """Return outputs less targets, (B, K, 2), 0 for unknown points; float32 unless float64."""
    outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
    return (outputs - targets.points) * targets.is_known[:, :, None]


def _mean(values: Tensor, targets: PointTargets) -> Tensor:
    """Return the mean of a value a point, (B, K), over each sample's known points, (B,)."""
    return values.sum(dim=1) / targets.is_known.sum(dim=1).clamp(min=1)
