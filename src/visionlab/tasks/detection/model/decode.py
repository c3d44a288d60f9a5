"""Decoding of a detector's outputs into boxes in the original image."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import nms

from visionlab.core import boxes as box_arithmetic
from visionlab.core.checks import check_at_least, check_range
from visionlab.core.geometry import transform_boxes
from visionlab.task import Batch
from visionlab.tasks.detection.records import BoxTargets, DenseOutput, Detections, TwoStageOutput


@dataclass(frozen=True, kw_only=True)
class Detect:
    """Decoding, non-maximum suppression per class, and a limit on the number of detections.

    RetinaNet, arXiv 1708.02002, section 4.1; there `score_threshold` is 0.05, `nms_iou` 0.5 and
    `candidates_per_level` 1000.

    Attributes:
        score_threshold: detections with lower scores are dropped, in [0, 1).
        candidates_per_level: maximum number of detections of each level before NMS.
        nms_iou: NMS suppresses boxes with a higher IoU.
        max_detections: maximum number of detections of an image after NMS.
    """

    score_threshold: float
    candidates_per_level: int
    nms_iou: float
    max_detections: int

    def __post_init__(self) -> None:
        check_range(self, "[0, 1)", "score_threshold")
        check_range(self, "[0, 1]", "nms_iou")
        check_at_least(self, 1, "candidates_per_level", "max_detections")

    @torch.no_grad()
    def __call__(self, outputs: DenseOutput, batch: Batch) -> list[Detections]:
        """Return the detections of each image of a batch, in original pixels."""
        images, anchors, labels, logits = dense_candidates(
            outputs,
            score_threshold=self.score_threshold,
            candidates_per_level=self.candidates_per_level,
        )
        deltas = outputs.deltas[images, anchors].float() * outputs.box_std
        found = box_arithmetic.decode(deltas, outputs.anchors[anchors])
        return _detections(
            Candidates(found, logits.sigmoid(), images, labels),
            batch,
            nms_iou=self.nms_iou,
            max_detections=self.max_detections,
        )


@dataclass(frozen=True, kw_only=True)
class DetectRegions:
    """Detections of a two-stage detector: NMS per class and a limit on their number.

    As in torchvision's Faster R-CNN, where `score_threshold` is 0.05 and `nms_iou` 0.5.

    Attributes:
        score_threshold: detections with lower scores are dropped, in [0, 1).
        nms_iou: NMS suppresses boxes with a higher IoU.
        max_detections: maximum number of detections of an image after NMS.
    """

    score_threshold: float
    nms_iou: float
    max_detections: int

    def __post_init__(self) -> None:
        check_range(self, "[0, 1)", "score_threshold")
        check_range(self, "[0, 1]", "nms_iou")
        check_at_least(self, 1, "max_detections")

    @torch.no_grad()
    def __call__(self, outputs: TwoStageOutput, batch: Batch) -> list[Detections]:
        """Return the detections of each image of a batch, in original pixels."""
        regions = outputs.regions
        assert regions is not None, "a model in training mode detects nothing"
        scores = regions.logits.softmax(dim=1)[:, 1:]
        region, label = (scores > self.score_threshold).nonzero(as_tuple=True)
        score, image = scores[region, label], regions.images[region]
        order = _by_value(image, score)
        region, label = region[order], label[order]
        return _detections(
            Candidates(regions.boxes[region, label], score[order], image[order], label),
            batch,
            nms_iou=self.nms_iou,
            max_detections=self.max_detections,
        )


class Candidates(NamedTuple):
    """Boxes (N, 4), or (N, 5), scores, images and labels, by image and falling score."""

    boxes: Tensor
    scores: Tensor
    images: Tensor
    labels: Tensor


def dense_candidates(
    outputs: DenseOutput, *, score_threshold: float, candidates_per_level: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return image, anchor, class and logit of the candidates for NMS, highest logits first."""
    logits = outputs.logits
    # comparing logits instead of scores saves the sigmoid of all anchors
    least = math.log(score_threshold / (1.0 - score_threshold)) if score_threshold else -math.inf
    parts, start = [], 0
    for size in outputs.level_sizes:
        level = logits[:, start : start + size]
        image, anchor, label = (level > least).nonzero(as_tuple=True)
        value = level[image, anchor, label].float()
        best = _best_of_groups(image, value, count=candidates_per_level)
        parts.append((image[best], start + anchor[best], label[best], value[best]))
        start += size
    image, anchor, label, value = (torch.cat(columns) for columns in zip(*parts, strict=True))
    order = _by_value(image, value)
    return image[order], anchor[order], label[order], value[order]


def _detections(
    candidates: Candidates, batch: Batch, *, nms_iou: float, max_detections: int
) -> list[Detections]:
    """Return what NMS leaves of the candidates of each image, in original pixels."""
    candidates = in_originals(candidates, batch, transform_boxes)
    sizes = [(sample.width_px, sample.height_px) for sample in batch.targets.annotated]
    limits = torch.tensor(sizes, device=candidates.images.device)[candidates.images]
    boxes = box_arithmetic.clip(candidates.boxes[:, None], limits)[:, 0]
    candidates = candidates._replace(boxes=boxes)
    kept = _suppress(candidates, nms_iou)
    return best_of_images(candidates, kept, len(sizes), max_detections=max_detections)


def in_originals(
    candidates: Candidates, batch: Batch, transform: Callable[[Tensor, Tensor], Tensor]
) -> Candidates:
    """Return candidates of inputs in pixels of the original images, those of crops by page.

    `transform` moves boxes (B, K, 4), or (B, K, 5), by matrices (B, 3, 3).
    """
    targets: BoxTargets = batch.targets
    assert batch.matrices is not None
    inverse = torch.linalg.inv(batch.matrices.double())[candidates.images]
    moved = candidates._replace(boxes=transform(candidates.boxes[:, None], inverse)[:, 0])
    if targets.pages is None:
        return moved
    pages = targets.pages[candidates.images]
    order = _by_value(pages, candidates.scores)
    return Candidates(*(column[order] for column in moved._replace(images=pages)))


def best_of_images(
    candidates: Candidates, kept: Tensor, num_images: int, *, max_detections: int
) -> list[Detections]:
    """Return the best of the rows `kept`, ascending, as detections of each image."""
    images = candidates.images
    kept = kept[_ranks(images[kept]) < max_detections]
    counts = images[kept].bincount(minlength=num_images).tolist()
    parts = (candidates.boxes[kept], candidates.scores[kept], candidates.labels[kept])
    columns = zip(*(torch.split(part, counts) for part in parts), strict=True)
    return [Detections(*column) for column in columns]


def _suppress(candidates: Candidates, nms_iou: float) -> Tensor:
    """Return the rows with an area that NMS per image and class keeps, ascending."""
    boxes, scores, images, labels = candidates
    is_real = box_arithmetic.areas(boxes) > 0
    # one stable sort groups candidates by image and class
    num_labels = int(labels.max()) + 1 if len(labels) else 1
    groups, order = torch.where(is_real, images * num_labels + labels, -1).sort(stable=True)
    sizes = (groups + 1).bincount().tolist()
    # drop empty groups, and the first one: boxes without area
    parts = [part for part in torch.split(order, sizes)[1:] if len(part)]
    kept = [part[nms(boxes[part], scores[part], nms_iou)] for part in parts]
    return torch.cat([order[:0], *kept]).sort().values


def _best_of_groups(groups: Tensor, values: Tensor, *, count: int) -> Tensor:
    """Return the rows of the `count` largest values of each group; `groups` is ascending."""
    ranks = _ranks(groups)
    if not (ranks >= count).any():
        return torch.arange(len(groups), device=groups.device)
    return _by_value(groups, values)[ranks < count]


def _by_value(groups: Tensor, values: Tensor) -> Tensor:
    """Return the rows sorted by group and falling value."""
    order = values.argsort(descending=True, stable=True)
    return order[groups[order].argsort(stable=True)]


def _ranks(groups: Tensor) -> Tensor:
    """Return the place of each row in its group, from 0; `groups` is ascending."""
    sizes = groups.bincount()
    return torch.arange(len(groups), device=groups.device) - (sizes.cumsum(0) - sizes)[groups]
