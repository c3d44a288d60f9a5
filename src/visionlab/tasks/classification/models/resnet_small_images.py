"""ImageNet ResNets whose stem keeps the resolution, for images of about 32x32 pixels."""

from dataclasses import dataclass
from typing import ClassVar

import timm
from torch import nn


@dataclass(frozen=True, kw_only=True)
class ResNetSmallImages:
    """timm's ResNet with a 3x3 first convolution of stride 1 and without the max-pool.

    Parameters for 10 classes: 11,173,962 at depth 18, 23,520,842 at depth 50. The first convolution
    has torch's default initialisation and no block starts as the identity, as in the EMA study.

    Raises:
        ValueError: another depth.
    """

    task: ClassVar[str] = "classification"
    depth: int

    def __post_init__(self) -> None:
        if self.depth not in (18, 34, 50, 101, 152):
            raise ValueError(f"depth must be one of 18, 34, 50, 101, 152, got {self.depth}")

    def __call__(self, *, num_classes: int) -> nn.Module:
        """Return the network, logits (B, num_classes) for images (B, 3, H, W)."""
        model: nn.Module = timm.create_model(
            f"resnet{self.depth}", pretrained=False, num_classes=num_classes, zero_init_last=False
        )
        model.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        model.maxpool = nn.Identity()
        return model
