"""Classifiers: residual networks for small images, and any model of timm."""

import logging
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from visionlab.backbones.timm_models import check_name, create

WIDTHS = (16, 32, 64)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ResNetCifar:
    """Settings of a `CifarNet`; parameters for 10 classes: 269,722 at depth 20, 853,018 at 56.

    Attributes:
        depth: number of layers, 6n + 2.
    """

    depth: int

    def __post_init__(self) -> None:
        if self.depth < 8 or self.depth % 6 != 2:
            raise ValueError(f"depth must be 6n + 2 (20, 32, 44, 56, 110), got {self.depth}")

    def __call__(self, *, num_classes: int) -> nn.Module:
        """Return the network with torch's default initialisation."""
        return CifarNet(num_blocks=(self.depth - 2) // 6, num_classes=num_classes)


class CifarNet(nn.Module):
    """He et al., "Deep residual learning", arXiv 1512.03385, section 4.2, option A shortcuts.

    Each of the three stages has `num_blocks` residual blocks. Deviation: torch's default
    initialisation instead of He's, as in the EMA study.
    """

    def __init__(self, *, num_blocks: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(3, WIDTHS[0], stride=1)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], num_blocks, stride=1)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], num_blocks, stride=2)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], num_blocks, stride=2)
        self.fc = nn.Linear(WIDTHS[2], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (B, num_classes), for images (B, 3, H, W)."""
        features = F.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        return self.fc(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]

    def get_classifier(self) -> nn.Module:
        """Return the last layer, under timm's name for it."""
        return self.fc

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Return how timm groups the parameters into layers, for layer-wise decay."""
        blocks = r"^layer(\d+)" if coarse else [(r"^layer(\d+)\.(\d+)", None)]
        return {"stem": r"^conv1|^bn1", "blocks": blocks}


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (option A).

    Where the shape changes, the shortcut takes every second pixel and pads channels with zeros,
    equally on both sides.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, stride=stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels, stride=1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride = stride
        self.extra_channels = out_channels - in_channels

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, out_channels, H / stride, W / stride) for (B, in_channels, H, W)."""
        shortcut = features
        if self.stride != 1 or self.extra_channels:
            half = self.extra_channels // 2
            shortcut = features[:, :, :: self.stride, :: self.stride]
            shortcut = F.pad(shortcut, (0, 0, 0, 0, half, self.extra_channels - half))
        features = F.relu(self.bn1(self.conv1(features)))
        return F.relu(self.bn2(self.conv2(features)) + shortcut)


def _conv3x3(in_channels: int, out_channels: int, *, stride: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


def _stage(in_channels: int, out_channels: int, num_blocks: int, *, stride: int) -> nn.Sequential:
    first = Block(in_channels, out_channels, stride=stride)
    others = [Block(out_channels, out_channels, stride=1) for _ in range(num_blocks - 1)]
    return nn.Sequential(first, *others)


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
        if self.depth not in (18, 34, 50, 101, 152):
            raise ValueError(f"depth must be one of 18, 34, 50, 101, 152, got {self.depth}")

    def __call__(self, *, num_classes: int) -> nn.Module:
        """Return the network, logits (B, num_classes) for images (B, 3, H, W)."""
        import timm

        model: nn.Module = timm.create_model(
            f"resnet{self.depth}", pretrained=False, num_classes=num_classes, zero_init_last=False
        )
        model.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        model.maxpool = nn.Identity()
        return model


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
