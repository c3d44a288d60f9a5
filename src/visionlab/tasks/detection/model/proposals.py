"""The first stage of a two-stage detector: anchors to proposals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import batched_nms

from visionlab.core import boxes as box_arithmetic
from visionlab.core.checks import check_at_least, check_range
from visionlab.tasks.detection.model.anchors import Anchors, spread
from visionlab.tasks.detection.model.sampling import Sampling, Truth
from visionlab.tasks.detection.records import Sampled

_MIN_SIDE_PX = 1e-3  # of a proposal; offsets from one without an area would not be finite


@dataclass(frozen=True, kw_only=True)
class RegionProposals:
    """Settings of a region proposal network (Faster R-CNN, arXiv 1506.01497, section 3.1).

    Attributes:
        sampling: of the anchors that enter its losses.
        train_candidates_per_level: maximum number of proposals of each level before NMS, for the
            losses.
        train_max_proposals: maximum number of proposals of an image after NMS, for the losses.
        candidates_per_level: as `train_candidates_per_level`, for detections.
        max_proposals: as `train_max_proposals`, for detections.
        nms_iou: NMS on each level suppresses proposals with a higher IoU.
    """

    sampling: Sampling
    train_candidates_per_level: int
    train_max_proposals: int
    candidates_per_level: int
    max_proposals: int
    nms_iou: float

    def __post_init__(self) -> None:
        check_at_least(self, 1, "train_candidates_per_level", "train_max_proposals")
        check_at_least(self, 1, "candidates_per_level", "max_proposals")
        check_range(self, "[0, 1]", "nms_iou")

    def __call__(
        self, in_channels: int, *, anchors: Anchors, strides: Sequence[int]
    ) -> "RegionProposalNetwork":
        """Return the network over feature maps with some strides and `in_channels` each."""
        return RegionProposalNetwork(self, in_channels, anchors=anchors, strides=strides)


class AnchorOutput(NamedTuple):
    """Outputs of the first stage at every anchor.

    Attributes:
        logits: (B, A) float32, of there being an object.
        deltas: (B, A, 4) float32, offsets of boxes from anchors as `boxes.encode` gives them.
        anchors: (A, 4) float32 as x1, y1, x2, y2 in input pixels.
        level_sizes: number of anchors of each level; they add up to A.
    """

    logits: Tensor
    deltas: Tensor
    anchors: Tensor
    level_sizes: Sequence[int]


class ProposedBoxes(NamedTuple):
    """Proposals of one image, (N, 4) as x1, y1, x2, y2 in input pixels, the best first."""

    train: Tensor
    detect: Tensor


class RegionProposalNetwork(nn.Module):
    """Feature maps, finest first, to an `AnchorOutput`."""

    cells: Tensor

    def __init__(
        self,
        settings: RegionProposals,
        in_channels: int,
        *,
        anchors: Anchors,
        strides: Sequence[int],
    ) -> None:
        super().__init__()
        self.head = RPNHead(in_channels, anchors.num_per_cell)
        cells = [anchors.cell(level) for level in range(len(strides))]
        self.register_buffer("cells", torch.stack(cells), persistent=False)
        self._settings = settings
        self._strides = strides

    def forward(self, maps: Sequence[Tensor]) -> AnchorOutput:
        """Return the outputs at every anchor."""
        logits, deltas = self.head(list(maps))
        shapes = [(each.shape[2], each.shape[3]) for each in maps]
        return AnchorOutput(
            logits=torch.cat([_rows(level, 1) for level in logits], dim=1)[..., 0].float(),
            deltas=torch.cat([_rows(level, 4) for level in deltas], dim=1).float(),
            anchors=spread(list(self.cells), shapes, self._strides),
            level_sizes=[self.cells.shape[1] * rows * columns for rows, columns in shapes],
        )

    @torch.no_grad()
    def propose(self, outputs: AnchorOutput, sizes: Tensor) -> list[ProposedBoxes]:
        """Return the proposals of each image, clipped to its size, (B, 2) as width, height.

        One NMS serves losses and detections: on a level, candidates are suppressed only by better
        ones, so further candidates change nothing.
        """
        settings = self._settings
        most = max(settings.train_candidates_per_level, settings.candidates_per_level)
        places, ranks, levels = _best_of_levels(outputs, most)
        images = torch.arange(len(places), device=places.device)[:, None]
        boxes = box_arithmetic.decode(outputs.deltas[images, places], outputs.anchors[places])
        rows = zip(box_arithmetic.clip(boxes, sizes), outputs.logits[images, places], strict=True)
        return [self._keep(*row, ranks=ranks, levels=levels) for row in rows]

    def _keep(
        self, boxes: Tensor, logits: Tensor, *, ranks: Tensor, levels: Tensor
    ) -> ProposedBoxes:
        """Return the proposals of an image; ranks are places on the level, from 0."""
        settings = self._settings
        is_real = ((boxes[:, 2:] - boxes[:, :2]) >= _MIN_SIDE_PX).all(dim=1)
        boxes, logits, ranks, levels = (each[is_real] for each in (boxes, logits, ranks, levels))
        kept = batched_nms(boxes, logits, levels, settings.nms_iou)
        ranks = ranks[kept]
        train = kept[ranks < settings.train_candidates_per_level]
        detect = kept[ranks < settings.candidates_per_level]
        return ProposedBoxes(
            boxes[train[: settings.train_max_proposals]], boxes[detect[: settings.max_proposals]]
        )

    def sample(self, outputs: AnchorOutput, truths: Sequence[Truth]) -> Sampled:
        """Return the anchors that enter the losses; label 1 is an object."""
        parts = []
        for truth, logits, deltas in zip(truths, outputs.logits, outputs.deltas, strict=True):
            places, objects = self._settings.sampling(truth, outputs.anchors, force_best=True)
            wanted = outputs.anchors[places]
            wanted[objects >= 0] = truth.boxes[objects[objects >= 0]]
            parts.append(
                Sampled(
                    logits=logits[places, None],
                    deltas=deltas[places],
                    wanted=box_arithmetic.encode(wanted, outputs.anchors[places]),
                    labels=(objects >= 0).long(),
                    counts=[len(places)],
                )
            )
        return merge(parts)


def _best_of_levels(outputs: AnchorOutput, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best anchors of each image and level, (B, N), their ranks and levels, (N,)."""
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    start = 0
    for level, logits in enumerate(torch.split(outputs.logits, list(outputs.level_sizes), dim=1)):
        best = logits.topk(min(count, logits.shape[1]), dim=1).indices
        rank = torch.arange(best.shape[1], device=best.device)
        parts.append((start + best, rank, torch.full_like(rank, level)))
        start += logits.shape[1]
    places, ranks, levels = (torch.cat(each, dim=-1) for each in zip(*parts, strict=True))
    return places, ranks, levels


def merge(parts: Sequence[Sampled]) -> Sampled:
    """Return the samples of several images as one."""
    return Sampled(
        logits=torch.cat([part.logits for part in parts]),
        deltas=torch.cat([part.deltas for part in parts]),
        wanted=torch.cat([part.wanted for part in parts]),
        labels=torch.cat([part.labels for part in parts]),
        counts=[count for part in parts for count in part.counts],
    )


def _rows(maps: Tensor, num_values: int) -> Tensor:
    """Return (B, A * num_values, H, W) as (B, H * W * A, num_values)."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, num_values)
