"""Classifiers: residual networks for small images, and any model of timm."""

import logging
from dataclasses import dataclass
from typing import Literal

from torch import nn

from visionlab.backbones.small_images import (
    CifarNet,
    blocks_per_stage,
    check_depth,
    small_image_resnet,
)
from visionlab.backbones.timm_models import check_name, create

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ResNetCifar:
    """Settings of a `CifarNet`; parameters for 10 classes: 269,722 at depth 20, 853,018 at 56.

    Attributes:
        depth: number of layers, 6n + 2.
    """

    depth: int

    def __post_init__(self) -> None:
        blocks_per_stage(self.depth)

    def __call__(self, *, num_classes: int) -> nn.Module:
        """Return the network with torch's default initialisation."""
        return CifarNet(num_blocks=blocks_per_stage(self.depth), num_classes=num_classes)


@dataclass(frozen=True, kw_only=True)
class ResNetSmallImages:
    """timm's ResNet with a 3x3 first convolution of stride 1 and without the max-pool.

    Parameters for 10 classes: 11,173,962 at depth 18, 23,520,842 at depth 50. The first convolution
    has torch's default initialisation and no block starts as the identity, as in the EMA study.

    Attributes:
        depth: number of layers: 18, 34, 50, 101 or 152.
    """

    depth: int

    def __post_init__(self) -> None:
        check_depth(self.depth)

    def __call__(self, *, num_classes: int) -> nn.Module:
        """Return the network, logits (B, num_classes) for images (B, 3, H, W)."""
        return small_image_resnet(depth=self.depth, num_classes=num_classes)


@dataclass(frozen=True, kw_only=True)
class TimmModel:
    """Settings of a timm model.

    Attributes:
        name: a name of `timm.list_models()`, with or without a tag (`resnet50.a1_in1k`).
        pretrained: whether to load timm's weights, which takes a network or timm's cache;
            `if_available` trains from scratch, with a warning, where they cannot be had.
    """

    name: str
    pretrained: bool | Literal["if_available"]

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.pretrained not in (True, False, "if_available"):
            raise ValueError(
                f"pretrained must be true, false or if_available, got {self.pretrained!r}"
            )

    def __call__(self, *, num_classes: int) -> nn.Module:
        """Return the network.

        Raises:
            ValueError: `pretrained` is true and the weights cannot be had.
        """
        if self.pretrained != "if_available":
            return self._create(num_classes, pretrained=self.pretrained)
        try:
            model = self._create(num_classes, pretrained=True)
        except ValueError as error:
            _log.warning("training from scratch, which takes more images and epochs: %s", error)
            return self._create(num_classes, pretrained=False)
        _log.info("model starts from the pretrained weights of %s", self.name)
        return model

    def _create(self, num_classes: int, *, pretrained: bool) -> nn.Module:
        return create(self.name, pretrained=pretrained, key="model", num_classes=num_classes)
