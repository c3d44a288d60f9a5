"""Regression of points from a whole image: a timm backbone and one linear layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionlab.backbones.features import Backbone, Features
from visionlab.core.checks import check_at_least, check_range

_HEAD_STD = 0.01  # small: training starts at the mean shape


@dataclass(frozen=True, kw_only=True)
class KeypointRegressor:
    """Settings of a model that regresses points.

    Attributes:
        backbone: one of its feature maps is used.
        stride: stride of the feature map; later layers are removed. Most backbones end at 32.
        grid: number of cells along each side over which the feature map is averaged before the
            linear layer; 1 is global average pooling, more keeps spatial information.
        dropout: share of the pooled features that are dropped in training.
    """

    backbone: Backbone
    stride: int
    grid: int
    dropout: float

    def __post_init__(self) -> None:
        check_at_least(self, 1, "stride", "grid")
        check_range(self, "[0, 1)", "dropout")

    def __call__(
        self, *, num_points: int, size_px: int, mean_points: Sequence[Sequence[float]]
    ) -> "KeypointModel":
        """Return the network.

        Its initial prediction is `mean_points`, x and y of each point in input pixels.

        Raises:
            ValueError: the inputs are too small for the grid, or the backbone cannot be had.
        """
        if size_px < self.stride:
            raise ValueError(f"dataset.size_px must be >= {self.stride}, got {size_px}")
        if size_px < self.stride * self.grid:
            raise ValueError(
                f"model.grid must be at most {size_px // self.stride} for inputs of {size_px} px "
                f"at stride {self.stride}, got {self.grid}"
            )
        backbone = self.backbone(strides=[self.stride])
        mean = torch.tensor(mean_points, dtype=torch.float32).view(num_points, 2)
        return KeypointModel(
            backbone, grid=self.grid, dropout=self.dropout, size_px=size_px, mean_points=mean
        )


class KeypointModel(nn.Module):
    """Regressor of points in input pixels; the linear layer predicts offsets from the centre.

    Their unit is half the side, divided by the root of the number of features, so the size of an
    optimizer's step in pixels does not depend on the number of features. The initial prediction is
    `mean_points`, (K, 2) float32. The other arguments are those of `KeypointRegressor`.
    """

    def __init__(
        self, backbone: Features, *, grid: int, dropout: float, size_px: int, mean_points: Tensor
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.grid = grid
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.channels[0] * grid * grid, mean_points.numel())
        self._centre_px = size_px / 2
        self._unit_px = self._centre_px / math.sqrt(self.head.in_features)
        nn.init.normal_(self.head.weight, std=_HEAD_STD)
        with torch.no_grad():
            self.head.bias.copy_(((mean_points - self._centre_px) / self._unit_px).flatten())

    def forward(self, images: Tensor) -> Tensor:
        """Return points (B, K, 2) float32 as x, y in input pixels for images (B, 3, S, S)."""
        (features,) = self.backbone(images)
        pooled = self.dropout(_pool(features, grid=self.grid).flatten(1))
        # in float32: bfloat16 would round points to half a pixel
        with torch.autocast(pooled.device.type, enabled=False):
            offsets = self.head(pooled.float())
        points: Tensor = offsets.view(len(images), -1, 2) * self._unit_px + self._centre_px
        return points


def _pool(features: Tensor, *, grid: int) -> Tensor:
    """Return the means over `grid` x `grid` cells of square maps, (B, C, grid, grid).

    Cells of equal size are pooled by the operation whose gradient is deterministic on GPUs; both
    compute the same bits.
    """
    cell_px, rest = divmod(features.shape[-1], grid)
    return F.adaptive_avg_pool2d(features, grid) if rest else F.avg_pool2d(features, cell_px)
