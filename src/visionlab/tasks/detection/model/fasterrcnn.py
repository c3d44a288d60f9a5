"""Faster R-CNN: proposals from a backbone's feature maps, then a class and a box for each.

Faster R-CNN, arXiv 1506.01497; the pyramid is that of arXiv 1612.03144.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from visionlab.backbones.features import Backbone
from visionlab.core.checks import check_at_least
from visionlab.task import Batch
from visionlab.tasks.detection.model.anchors import Anchors
from visionlab.tasks.detection.model.proposals import RegionProposals
from visionlab.tasks.detection.model.regions import RegionHead
from visionlab.tasks.detection.model.sampling import truths_of
from visionlab.tasks.detection.records import TwoStageOutput

_NAMES = ("p2", "p3", "p4", "p5", "p6")
_STRIDES = (4, 8, 16, 32, 64)  # of P2 to P6; the backbone gives the first four
_C5_STRIDE = 32


@dataclass(frozen=True, kw_only=True)
class RegionPyramid:
    """Settings of the feature pyramid P2 to P6; P6 is every other cell of P5.

    Attributes:
        channels: of each level.
    """

    channels: int

    def __post_init__(self) -> None:
        check_at_least(self, 1, "channels")

    def __call__(self, in_channels: Sequence[int]) -> FeaturePyramidNetwork:
        """Return P2 to P6 over C2 to C5 with the given numbers of channels."""
        return FeaturePyramidNetwork(
            list(in_channels), self.channels, extra_blocks=LastLevelMaxPool()
        )


@dataclass(frozen=True, kw_only=True)
class FasterRcnn:
    """Settings of a Faster R-CNN.

    Attributes:
        backbone: gives C2 to C5.
        pyramid: computes P2 to P6; None takes everything from C5 alone.
        anchors: five sizes, one per level, or one without a pyramid.
        proposals: settings of the first stage.
        regions: settings of the second stage.
    """

    backbone: Backbone
    pyramid: RegionPyramid | None
    anchors: Anchors
    proposals: RegionProposals
    regions: RegionHead

    def __post_init__(self) -> None:
        if len(self.anchors.sizes_px) != len(self.strides):
            levels = "one for each of P2 to P6" if self.pyramid else "that of C5"
            raise ValueError(
                f"anchors.sizes_px must have {len(self.strides)} numbers, {levels}, "
                f"got {list(self.anchors.sizes_px)}"
            )

    @property
    def strides(self) -> Sequence[int]:
        """Pixels between the cells of each level."""
        return _STRIDES if self.pyramid else [_C5_STRIDE]

    def __call__(self, *, num_classes: int) -> "FasterRcnnModel":
        """Return the network; `num_classes` does not count the background."""
        return FasterRcnnModel(self, num_classes=num_classes)


class FasterRcnnModel(nn.Module):
    """A Faster R-CNN; a batch of images (B, 3, H, W) with `BoxTargets` to a `TwoStageOutput`.

    The images are already resized, normalised and padded; unlike torchvision's model, this one
    changes none of it. Names of weights are those of torchvision, but for `pyramid`.
    """

    takes_batch = True

    def __init__(self, settings: FasterRcnn, *, num_classes: int) -> None:
        super().__init__()
        strides = settings.strides
        self.backbone = settings.backbone(strides=strides[:4])
        self.pyramid, channels = None, self.backbone.channels[-1]
        if settings.pyramid:
            self.pyramid = settings.pyramid(self.backbone.channels)
            channels = settings.pyramid.channels
        self.rpn = settings.proposals(channels, anchors=settings.anchors, strides=strides)
        # P6 only has proposals, as in torchvision
        self.roi_heads = settings.regions(
            channels, level_names=_NAMES[:4] if self.pyramid else ["c5"], num_classes=num_classes
        )

    def forward(self, batch: Batch) -> TwoStageOutput:
        """Return the samples for the losses if there are targets, and regions unless in training.

        In evaluation both come from the same feature maps. The samples are drawn as in training,
        from as many proposals, so their losses compare with those of training.
        """
        targets, canvas = batch.targets, (batch.inputs.shape[2], batch.inputs.shape[3])
        maps = self._maps(batch.inputs)
        outputs = self.rpn(list(maps.values()))
        proposed = self.rpn.propose(outputs, _sizes(batch))
        anchors = sampled = regions = None
        if targets is not None:
            truths = truths_of(targets, batch.keys, is_training=self.training)
            anchors = self.rpn.sample(outputs, truths)
            sampled = self.roi_heads.sample(maps, [each.train for each in proposed], canvas, truths)
        if not self.training:
            regions = self.roi_heads.detect(maps, [each.detect for each in proposed], canvas)
        return TwoStageOutput(anchors=anchors, sampled=sampled, regions=regions)

    def _maps(self, images: Tensor) -> Mapping[str, Tensor]:
        """Return the feature maps by name, finest first."""
        features = self.backbone(images)
        if self.pyramid is None:
            return {"c5": features[0]}
        maps: dict[str, Tensor] = self.pyramid(dict(zip(_NAMES, features, strict=False)))
        return dict(zip(_NAMES, maps.values(), strict=True))  # torchvision calls the last one pool


def _sizes(batch: Batch) -> Tensor:
    """Return width and height of each image, (B, 2); those of the canvas without targets."""
    if batch.targets is not None:
        sizes: Tensor = batch.targets.sizes
        return sizes
    images = batch.inputs
    return torch.tensor(images.shape[:1:-1], device=images.device).expand(len(images), 2)
