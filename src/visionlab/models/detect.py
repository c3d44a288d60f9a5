"""From what a one-stage detector says at its anchors to boxes in the original image."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from visionlab import boxes as box_arithmetic
from visionlab.geometry import transform_boxes
from visionlab.outputs import BoxTargets, DenseOutput, Detections
from visionlab.task import Batch


@dataclass(frozen=True, kw_only=True)
class Detect:
    """Decoding, non-maximum suppression by class, and the best of what is left.

    RetinaNet, arXiv 1708.02002, section 4.1; there `score_threshold` is 0.05, `nms_iou` 0.5 and
    `candidates_per_level` 1000.

    Attributes:
        score_threshold: less certain detections are left out, in [0, 1).
        candidates_per_level: the most certain ones of each level that NMS looks at.
        nms_iou: of two boxes of a class that overlap more, the less certain one is left out.
        max_detections: of an image, the most certain ones.
    """

    score_threshold: float
    candidates_per_level: int
    nms_iou: float
    max_detections: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.score_threshold < 1.0:
            raise ValueError(f"score_threshold must be in [0, 1), got {self.score_threshold}")
        if not 0.0 <= self.nms_iou <= 1.0:
            raise ValueError(f"nms_iou must be in [0, 1], got {self.nms_iou}")
        for name in ("candidates_per_level", "max_detections"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")

    @torch.no_grad()
    def __call__(self, outputs: DenseOutput, batch: Batch) -> list[Detections]:
        """Return what is found in each image of a batch, in its original pixels."""
        targets: BoxTargets = batch.targets
        assert batch.matrices is not None
        images, anchors, labels, logits = self._candidates(outputs)
        deltas = outputs.deltas[images, anchors].float() * outputs.box_std
        found = box_arithmetic.decode(deltas, outputs.anchors[anchors])
        to_original = torch.linalg.inv(batch.matrices.double())
        counts = images.bincount(minlength=len(batch.keys)).tolist()
        parts = [torch.split(part, counts) for part in (found, logits.sigmoid(), labels)]
        detections = []
        for number, (boxes, scores, classes) in enumerate(zip(*parts, strict=True)):
            sample = targets.annotated[number]
            size = torch.tensor([sample.width_px, sample.height_px], device=boxes.device)
            original = transform_boxes(boxes[None], to_original[number, None])[0]
            detections.append(self._select(box_arithmetic.clip(original, size), scores, classes))
        return detections

    def _candidates(self, outputs: DenseOutput) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return image, anchor, class and logit of what NMS looks at, the most certain first."""
        logits = outputs.logits
        # logits are compared instead of scores: no sigmoid of all the anchors
        least = _logit(self.score_threshold)
        parts, start = [], 0
        for size in outputs.level_sizes:
            level = logits[:, start : start + size]
            image, anchor, label = (level > least).nonzero(as_tuple=True)
            value = level[image, anchor, label].float()
            best = _best_of_groups(image, value, count=self.candidates_per_level)
            parts.append((image[best], start + anchor[best], label[best], value[best]))
            start += size
        image, anchor, label, value = (torch.cat(columns) for columns in zip(*parts, strict=True))
        order = value.argsort(descending=True, stable=True)
        order = order[image[order].argsort(stable=True)]
        return image[order], anchor[order], label[order], value[order]

    def _select(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Detections:
        """Return what is left of an image's candidates, which come by falling score."""
        is_real = box_arithmetic.areas(boxes) > 0
        boxes, scores, labels = boxes[is_real], scores[is_real], labels[is_real]
        # what is kept among the first n does not depend on those after them
        count = 4 * self.max_detections
        kept = batched_nms(boxes[:count], scores[:count], labels[:count], self.nms_iou)
        while len(kept) < self.max_detections and count < len(boxes):
            count *= 4
            kept = batched_nms(boxes[:count], scores[:count], labels[:count], self.nms_iou)
        kept = kept.sort().values[: self.max_detections]  # by falling score: equals in their order
        return Detections(boxes[kept], scores[kept], labels[kept])


def _logit(score: float) -> float:
    return math.log(score / (1.0 - score)) if score > 0.0 else -math.inf


def _best_of_groups(groups: Tensor, values: Tensor, *, count: int) -> Tensor:
    """Return the rows of the `count` largest values of each group; groups come in rising order."""
    sizes = groups.bincount()
    if len(groups) == 0 or int(sizes.max()) <= count:
        return torch.arange(len(groups), device=groups.device)
    order = values.argsort(descending=True, stable=True)
    order = order[groups[order].argsort(stable=True)]
    rank = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[groups]
    return order[rank < count]
