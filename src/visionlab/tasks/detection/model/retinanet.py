"""RetinaNet: a backbone, a feature pyramid, and two heads shared by its levels.

Focal Loss for Dense Object Detection, arXiv 1708.02002; the pyramid is that of arXiv 1612.03144.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from visionlab.backbones.features import Backbone
from visionlab.core.checks import check_at_least, check_choice, check_range
from visionlab.tasks.detection.model.anchors import Anchors, check_box_std, spread
from visionlab.tasks.detection.records import NUM_OFFSETS, NUM_ORIENTED_OFFSETS, DenseOutput

P6From = Literal["c5", "p5"]
HeadNorm = Literal["none", "group"]
LEVEL_STRIDES = (8, 16, 32, 64, 128)  # of P3 to P7; the backbone gives the first three
_GROUPS = 32


@dataclass(frozen=True, kw_only=True)
class Pyramid:
    """Settings of the feature pyramid.

    Attributes:
        channels: of each level.
        p6_from: input of P6: `c5`, as in the paper, or `p5`.
    """

    channels: int
    p6_from: P6From

    def __post_init__(self) -> None:
        check_at_least(self, 1, "channels")
        check_choice(self, get_args(P6From), "p6_from")

    def __call__(self, in_channels: Sequence[int]) -> FeaturePyramidNetwork:
        """Return P3 to P7 over C3 to C5 with the given numbers of channels."""
        top = in_channels[-1] if self.p6_from == "c5" else self.channels
        last = LastLevelP6P7(top, self.channels)
        last.use_P5 = self.p6_from == "p5"  # torchvision infers it from the numbers of channels
        return FeaturePyramidNetwork(list(in_channels), self.channels, extra_blocks=last)


@dataclass(frozen=True, kw_only=True)
class Head:
    """Settings of both heads: `depth` 3x3 convolutions of `channels`, then the output.

    Attributes:
        channels: of each convolution.
        depth: number of convolutions before the output.
        norm: `none`, as in the paper, or `group` norm after each.
    """

    channels: int
    depth: int
    norm: HeadNorm

    def __post_init__(self) -> None:
        check_at_least(self, 1, "channels")
        check_at_least(self, 0, "depth")
        check_choice(self, get_args(HeadNorm), "norm")
        # at least two channels per group, since P7 of a small image is a single cell
        if self.norm == "group" and (self.channels % _GROUPS or self.channels == _GROUPS):
            raise ValueError(
                f"channels must be a multiple of {_GROUPS} from {2 * _GROUPS} on for group norm, "
                f"got {self.channels}"
            )

    def __call__(self, in_channels: int, *, num_outputs: int, bias: float) -> nn.Sequential:
        """Return a head; its output starts near `bias`."""
        layers: list[nn.Module] = []
        for _ in range(self.depth):
            layers.append(nn.Conv2d(in_channels, self.channels, 3, padding=1))
            if self.norm == "group":
                layers.append(nn.GroupNorm(_GROUPS, self.channels))
            layers.append(nn.ReLU(inplace=True))
            in_channels = self.channels
        layers.append(nn.Conv2d(in_channels, num_outputs, 3, padding=1))
        for layer in layers:
            if isinstance(layer, nn.Conv2d):  # the paper's section 4.1
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.constant_(layers[-1].bias, bias)  # type: ignore[arg-type]
        return nn.Sequential(*layers)


@dataclass(frozen=True, kw_only=True)
class RetinaNet:
    """Settings of a RetinaNet.

    Attributes:
        backbone: gives C3 to C5.
        pyramid: computes P3 to P7.
        head: settings of the classification and the regression head.
        anchors: five sizes, one per level.
        prior: initial score of every class at every anchor (pi in section 3.3 of the paper).
        box_std: divisors of the box offsets, which bring them to the order of 1: four, or five of
            oriented boxes, the last one for the angle from an upright anchor.
        inputs_per_pass: in evaluation, more inputs of a batch, such as the crops of a page, go
            through the network one group after another, which bounds its memory; None takes all of
            them at once.
    """

    backbone: Backbone
    pyramid: Pyramid
    head: Head
    anchors: Anchors
    prior: float
    box_std: Sequence[float]
    inputs_per_pass: int | None

    def __post_init__(self) -> None:
        check_range(self, "(0, 1)", "prior")
        is_oriented = len(self.box_std) == NUM_ORIENTED_OFFSETS
        check_box_std(
            self.box_std, num_offsets=NUM_ORIENTED_OFFSETS if is_oriented else NUM_OFFSETS
        )
        if self.inputs_per_pass is not None:
            check_at_least(self, 1, "inputs_per_pass")
        if len(self.anchors.sizes_px) != len(LEVEL_STRIDES):
            raise ValueError(
                f"anchors.sizes_px must have {len(LEVEL_STRIDES)} numbers, one for each of P3 to "
                f"P7, got {list(self.anchors.sizes_px)}"
            )

    def __call__(self, *, num_classes: int) -> "RetinaNetModel":
        """Return the network."""
        return RetinaNetModel(self, num_classes=num_classes)


class RetinaNetModel(nn.Module):
    """A RetinaNet; images (B, 3, H, W) to a `DenseOutput`."""

    box_std: Tensor
    cells: Tensor

    def __init__(self, settings: RetinaNet, *, num_classes: int) -> None:
        super().__init__()
        pyramid, anchors = settings.pyramid, settings.anchors
        self.backbone = settings.backbone(strides=LEVEL_STRIDES[:3])
        self.pyramid = pyramid(self.backbone.channels)
        self.classification = settings.head(
            pyramid.channels,
            num_outputs=anchors.num_per_cell * num_classes,
            bias=-math.log((1.0 - settings.prior) / settings.prior),
        )
        self.regression = settings.head(
            pyramid.channels, num_outputs=anchors.num_per_cell * len(settings.box_std), bias=0.0
        )
        self.register_buffer("box_std", torch.tensor(list(settings.box_std), dtype=torch.float32))
        cells = [anchors.cell(level) for level in range(len(LEVEL_STRIDES))]
        self.register_buffer("cells", torch.stack(cells), persistent=False)
        self._num_classes, self._num_offsets = num_classes, len(settings.box_std)
        self._inputs_per_pass = settings.inputs_per_pass

    def forward(self, images: Tensor) -> DenseOutput:
        """Return the raw outputs at every anchor."""
        if self.training or self._inputs_per_pass is None:
            return self._outputs(images)
        outputs = [self._outputs(group) for group in torch.split(images, self._inputs_per_pass)]
        return outputs[0]._replace(
            logits=torch.cat([each.logits for each in outputs]),
            deltas=torch.cat([each.deltas for each in outputs]),
        )

    def _outputs(self, images: Tensor) -> DenseOutput:
        names = ("p3", "p4", "p5")
        maps = dict(zip(names, self.backbone(images), strict=True))
        levels = list(self.pyramid(maps).values())
        logits = [_rows(self.classification(level), self._num_classes) for level in levels]
        deltas = [_rows(self.regression(level), self._num_offsets) for level in levels]
        shapes = [(level.shape[2], level.shape[3]) for level in levels]
        return DenseOutput(
            logits=torch.cat(logits, dim=1),
            deltas=torch.cat(deltas, dim=1),
            anchors=spread(list(self.cells), shapes, LEVEL_STRIDES),
            level_shapes=shapes,
            box_std=self.box_std,
        )


def _rows(maps: Tensor, num_values: int) -> Tensor:
    """Return (B, A * num_values, H, W) as (B, H * W * A, num_values)."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, num_values)
