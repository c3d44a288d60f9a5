"""Residual networks for small images, which tasks share."""

from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (16, 32, 64)
_DEPTHS = (18, 34, 50, 101, 152)


def blocks_per_stage(depth: int) -> int:
    """Return the number of blocks in each of the three stages of a `CifarNet` of some layers.

    Raises:
        ValueError: there is no such network.
    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth must be 6n + 2 (20, 32, 44, 56, 110), got {depth}")
    return (depth - 2) // 6


def check_depth(depth: int) -> None:
    """Check that there is a `small_image_resnet` of some layers."""
    if depth not in _DEPTHS:
        raise ValueError(f"depth must be one of {', '.join(map(str, _DEPTHS))}, got {depth}")


class CifarNet(nn.Module):
    """He et al., "Deep residual learning", arXiv 1512.03385, section 4.2, option A shortcuts.

    Each of the three stages has `num_blocks` residual blocks. Deviation: torch's default
    initialisation instead of He's, as in the EMA study.

    Args:
        num_blocks: of each stage.
        num_classes: of the logits; 0 gives the features before the last layer, as in timm.
    """

    def __init__(self, *, num_blocks: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(3, WIDTHS[0], stride=1)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], num_blocks, stride=1)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], num_blocks, stride=2)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], num_blocks, stride=2)
        self.num_features = WIDTHS[2]
        self.fc = nn.Linear(WIDTHS[2], num_classes) if num_classes else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes), or features (B, 64), for images (B, 3, H, W)."""
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last feature map, (B, 64, H / 4, W / 4), under timm's name for it."""
        features = F.relu(self.bn1(self.conv1(images)))
        return self.layer3(self.layer2(self.layer1(features)))  # type: ignore[no-any-return]

    def forward_head(self, maps: Tensor) -> Tensor:
        """Return what `forward` does, for the last feature map."""
        return self.fc(maps.mean(dim=(2, 3)))  # type: ignore[no-any-return]

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


def small_image_resnet(*, depth: int, num_classes: int) -> nn.Module:
    """Return timm's ResNet with a 3x3 first convolution of stride 1 and without the max-pool.

    With 0 classes it gives features. The first convolution has torch's default initialisation, and
    no block starts as the identity.
    """
    import timm

    model: nn.Module = timm.create_model(
        f"resnet{depth}", pretrained=False, num_classes=num_classes, zero_init_last=False
    )
    model.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    model.maxpool = nn.Identity()
    for level in model.feature_info:  # type: ignore[union-attr]
        level["reduction"] = max(1, level["reduction"] // 4)
    return model
