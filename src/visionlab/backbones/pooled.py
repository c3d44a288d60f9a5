"""Backbones that give one row of features an image; names of tensors are those of classifiers."""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from visionlab.backbones.small_images import (
    CifarNet,
    blocks_per_stage,
    check_depth,
    small_image_resnet,
)
from visionlab.backbones.timm_models import check_name, create


class PooledBackbone(Protocol):
    """Settings of a network with `num_features`, (B, num_features) for images (B, 3, H, W)."""

    def __call__(self) -> nn.Module:
        """Return the network."""


def stride_px(backbone: nn.Module) -> int:
    """Return the image pixels per side of a pixel of the last feature map; 1 if unknown."""
    known: Any = getattr(backbone, "feature_info", None)  # of timm
    return int(known[-1]["reduction"]) if known else 1


@dataclass(frozen=True, kw_only=True)
class PooledTimm:
    """Settings of a timm model without its classifier.

    Attributes:
        name: a name of `timm.list_models()`.
        pretrained: whether to load timm's weights, from the network or timm's cache.
    """

    name: str
    pretrained: bool

    def __post_init__(self) -> None:
        check_name(self.name)

    def __call__(self) -> nn.Module:
        """Return the network.

        Raises:
            ValueError: the weights cannot be had.
        """
        return create(self.name, pretrained=self.pretrained, key="model.backbone", num_classes=0)


@dataclass(frozen=True, kw_only=True)
class PooledSmallImages:
    """Settings of the backbone of `model=resnet18` or `resnet50` for small images.

    Attributes:
        depth: number of layers: 18, 34, 50, 101 or 152.
    """

    depth: int

    def __post_init__(self) -> None:
        check_depth(self.depth)

    def __call__(self) -> nn.Module:
        """Return the network."""
        return small_image_resnet(depth=self.depth, num_classes=0)


@dataclass(frozen=True, kw_only=True)
class PooledResNetCifar:
    """Settings of the backbone of `model=resnet20` to `resnet110`.

    Attributes:
        depth: number of layers, 6n + 2.
    """

    depth: int

    def __post_init__(self) -> None:
        blocks_per_stage(self.depth)

    def __call__(self) -> nn.Module:
        """Return the network."""
        return CifarNet(num_blocks=blocks_per_stage(self.depth), num_classes=0)
