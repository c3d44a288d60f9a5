"""The second stage of a two-stage detector: proposals to classes and refined boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from visionlab.core import boxes as box_arithmetic
from visionlab.core.checks import check_at_least, check_choice
from visionlab.tasks.detection.model.anchors import check_box_std
from visionlab.tasks.detection.model.proposals import merge
from visionlab.tasks.detection.model.sampling import Sampling, Truth
from visionlab.tasks.detection.records import Regions, Sampled

RoiLevels = Literal["by_size", "finest"]


@dataclass(frozen=True, kw_only=True)
class RegionHead:
    """Settings of the head that classifies and refines proposals (Fast R-CNN, arXiv 1504.08083).

    Attributes:
        sampling: of the proposals that enter its losses; the boxes of the image are added to them.
        levels: where a proposal is pooled from: `by_size`, the level that suits its area (arXiv
            1612.03144, equation 1), or `finest`, always the finest one.
        pooled_cells: rows and columns of the grid that a proposal is pooled to.
        samples_per_cell: samples along each side of a cell of that grid (RoIAlign, arXiv
            1703.06870, section 3).
        channels: of both hidden layers.
        box_std: divisors of the box offsets, which bring them to the order of 1.
    """

    sampling: Sampling
    levels: RoiLevels
    pooled_cells: int
    samples_per_cell: int
    channels: int
    box_std: Sequence[float]

    def __post_init__(self) -> None:
        check_choice(self, get_args(RoiLevels), "levels")
        check_at_least(self, 1, "pooled_cells", "samples_per_cell", "channels")
        check_box_std(self.box_std, num_offsets=4)

    def __call__(
        self, in_channels: int, *, level_names: Sequence[str], num_classes: int
    ) -> "RegionNetwork":
        """Return the head over feature maps with some names, finest first."""
        return RegionNetwork(self, in_channels, level_names=level_names, num_classes=num_classes)


class RegionNetwork(nn.Module):
    """Feature maps by name and proposals to logits and offsets of every class."""

    box_std: Tensor

    def __init__(
        self,
        settings: RegionHead,
        in_channels: int,
        *,
        level_names: Sequence[str],
        num_classes: int,
    ) -> None:
        super().__init__()
        names = level_names if settings.levels == "by_size" else level_names[:1]
        cells, channels = settings.pooled_cells, settings.channels
        self.pool = MultiScaleRoIAlign(list(names), cells, settings.samples_per_cell)
        self.box_head = TwoMLPHead(in_channels * cells**2, channels)
        self.box_predictor = FastRCNNPredictor(channels, num_classes + 1)
        self.register_buffer("box_std", torch.tensor(list(settings.box_std), dtype=torch.float32))
        self._sampling = settings.sampling

    def forward(
        self, maps: Mapping[str, Tensor], proposals: Sequence[Tensor], canvas: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return logits (R, C + 1), background first, and offsets (R, C + 1, 4), both float32.

        Proposals are (N, 4) for each image as x1, y1, x2, y2 in input pixels; R is their number in
        all images. The canvas is height and width of the batch, which the strides of maps divide.
        """
        pooled = self.pool(maps, list(proposals), [canvas] * len(proposals))
        logits, deltas = self.box_predictor(self.box_head(pooled))
        return logits.float(), deltas.float().view(*logits.shape, 4)

    def detect(
        self, maps: Mapping[str, Tensor], proposals: Sequence[Tensor], canvas: tuple[int, int]
    ) -> Regions:
        """Return the classified and refined proposals."""
        logits, deltas = self(maps, proposals, canvas)
        offsets = deltas[:, 1:] * self.box_std
        counts = torch.tensor([len(each) for each in proposals], device=logits.device)
        return Regions(
            images=torch.arange(len(proposals), device=logits.device).repeat_interleave(counts),
            boxes=box_arithmetic.decode(offsets, torch.cat(list(proposals))[:, None]),
            logits=logits,
        )

    def sample(
        self,
        maps: Mapping[str, Tensor],
        proposals: Sequence[Tensor],
        canvas: tuple[int, int],
        truths: Sequence[Truth],
    ) -> Sampled:
        """Return the proposals that enter the losses, with their classes; 0 is background."""
        candidates, parts = [], []
        for truth, own in zip(truths, proposals, strict=True):
            own = torch.cat([own, truth.boxes])
            places, objects = self._sampling(truth, own, force_best=False)
            is_object, chosen = objects >= 0, own[places]
            wanted, labels = chosen.clone(), torch.zeros_like(objects)
            wanted[is_object] = truth.boxes[objects[is_object]]
            labels[is_object] = truth.labels[objects[is_object]]
            offsets = box_arithmetic.encode(wanted, chosen) / self.box_std
            candidates.append(chosen)
            parts.append(Sampled(labels[:, None], offsets, offsets, labels, [len(places)]))
        drawn = merge(parts)
        logits, deltas = self(maps, candidates, canvas)
        rows = torch.arange(len(logits), device=logits.device)
        return drawn._replace(logits=logits, deltas=deltas[rows, drawn.labels])
