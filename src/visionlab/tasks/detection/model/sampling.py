"""The random choice of anchors or proposals that enter the losses of a two-stage detector."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

from visionlab.core import seeding
from visionlab.core.boxes import areas
from visionlab.core.checks import check_at_least, check_range
from visionlab.tasks.detection.records import BoxTargets

BACKGROUND, IGNORED = -1, -2


class Truth(NamedTuple):
    """Objects of one image.

    Attributes:
        boxes: (K, 4) float32 as x1, y1, x2, y2 in input pixels, each with an area.
        labels: (K,) int64, from 1 on; 0 is background.
        generator: of the image's sampling; None for torch's global one.
    """

    boxes: Tensor
    labels: Tensor
    generator: torch.Generator | None


class Sample(NamedTuple):
    """The drawn candidates of one image.

    Attributes:
        places: (S,) int64, rows of the candidates, positives first.
        objects: (S,) int64, rows of their objects, `BACKGROUND` for negatives.
    """

    places: Tensor
    objects: Tensor


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of matching and sampling (Faster R-CNN, arXiv 1506.01497, section 3.1.2).

    Attributes:
        positive_iou: candidates with at least this IoU with a box are positive.
        negative_iou: candidates below this IoU with all boxes are background; those in between are
            ignored.
        num_samples: maximum number of candidates drawn from an image.
        positive_share: maximum share of positives among them; background takes the other places.
    """

    positive_iou: float
    negative_iou: float
    num_samples: int
    positive_share: float

    def __post_init__(self) -> None:
        if not 0.0 < self.negative_iou <= self.positive_iou <= 1.0:
            raise ValueError(
                "negative_iou must be > 0 and <= positive_iou <= 1, "
                f"got negative_iou={self.negative_iou} positive_iou={self.positive_iou}"
            )
        check_at_least(self, 1, "num_samples")
        check_range(self, "[0, 1]", "positive_share")

    @torch.no_grad()
    def __call__(self, truth: Truth, candidates: Tensor, *, force_best: bool) -> Sample:
        """Match and draw candidates, (N, 4) as x1, y1, x2, y2.

        With `force_best`, the candidates of the highest IoU with a box are positive too, however
        low it is, unless it is 0.
        """
        objects = self._match(truth.boxes, candidates, force_best=force_best)
        positives = (objects >= 0).nonzero()[:, 0]
        negatives = (objects == BACKGROUND).nonzero()[:, 0]
        most = int(self.num_samples * self.positive_share)
        positives = _draw(positives, most, truth.generator)
        negatives = _draw(negatives, self.num_samples - len(positives), truth.generator)
        places = torch.cat([positives, negatives])
        return Sample(places, objects[places])

    def _match(self, boxes: Tensor, candidates: Tensor, *, force_best: bool) -> Tensor:
        """Return the box of each candidate, (N,) int64, or `BACKGROUND` or `IGNORED`."""
        if not len(boxes):
            return torch.full((len(candidates),), BACKGROUND, device=candidates.device)
        overlaps = box_iou(boxes, candidates)
        highest, nearest = overlaps.max(dim=0)
        objects = torch.where(highest < self.negative_iou, BACKGROUND, IGNORED)
        is_positive = highest >= self.positive_iou
        if force_best and len(candidates):
            best = overlaps.amax(dim=1, keepdim=True)
            is_positive |= ((overlaps == best) & (best > 0)).any(dim=0)
        return torch.where(is_positive, nearest, objects)


def truths_of(targets: BoxTargets, keys: Tensor, *, is_training: bool) -> Sequence[Truth]:
    """Return the objects of each image of a batch.

    In training, samples are drawn by torch's global generator, which is seeded for every step. In
    evaluation they depend on the key of the image alone, so neither the global generator nor the
    rest of the batch changes a loss.
    """
    is_object = (targets.labels >= 0) & (areas(targets.boxes) > 0)
    return [
        Truth(boxes[is_real], labels[is_real] + 1, None if is_training else _generator(key, boxes))
        for boxes, labels, is_real, key in zip(
            targets.boxes, targets.labels, is_object, keys.tolist(), strict=True
        )
    ]


def _generator(key: int, like: Tensor) -> torch.Generator:
    return torch.Generator(like.device).manual_seed(seeding.derive(key, "regions"))


def _draw(places: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Return at most `count` of some places, in random order."""
    order = torch.randperm(len(places), generator=generator, device=places.device)
    return places[order[:count]]
