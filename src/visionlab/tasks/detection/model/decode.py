"""Decoding of a detector's outputs into boxes in the original image."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import nms

from visionlab.core import boxes as box_arithmetic
from visionlab.core import oriented_boxes
from visionlab.core.checks import check_at_least, check_range
from visionlab.core.geometry import transform_boxes
from visionlab.task import Batch
from visionlab.tasks.detection.model.candidates import (
    Candidates,
    best_of_images,
    by_value,
    dense_candidates,
    in_originals,
)
from visionlab.tasks.detection.oriented.nms import oriented_nms
from visionlab.tasks.detection.records import DenseOutput, Detections, TwoStageOutput


@dataclass(frozen=True, kw_only=True)
class Detect:
    """Decoding, non-maximum suppression per class, and a limit on the number of detections.

    RetinaNet, arXiv 1708.02002, section 4.1; there `score_threshold` is 0.05, `nms_iou` 0.5 and
    `candidates_per_level` 1000. The crops of a page go through NMS together.

    Of oriented boxes, the IoU is that of the rectangles, and boxes may extend beyond the image. For
    DOTA and DeepScoresV2, an `nms_iou` of 0.1 is usual.

    Attributes:
        score_threshold: detections with lower scores are dropped, in [0, 1).
        candidates_per_level: maximum number of detections of each level of an input before NMS.
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
        chosen = outputs.anchors[anchors]
        if outputs.is_oriented:
            make, found = (
                _oriented_detections,
                oriented_boxes.decode(deltas, oriented_boxes.from_boxes(chosen)),
            )
        else:
            make, found = _upright_detections, box_arithmetic.decode(deltas, chosen)
        return make(
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
        order = by_value(image, score)
        region, label = region[order], label[order]
        return _upright_detections(
            Candidates(regions.boxes[region, label], score[order], image[order], label),
            batch,
            nms_iou=self.nms_iou,
            max_detections=self.max_detections,
        )


def _upright_detections(
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


def _oriented_detections(
    candidates: Candidates, batch: Batch, *, nms_iou: float, max_detections: int
) -> list[Detections]:
    """Return what NMS leaves of the oriented candidates of each image, in original pixels."""
    candidates = in_originals(candidates, batch, oriented_boxes.transform)
    num_labels = int(candidates.labels.max()) + 1 if len(candidates.labels) else 1
    groups = candidates.images * num_labels + candidates.labels
    kept = oriented_nms(candidates.boxes, candidates.scores, groups, iou_threshold=nms_iou)
    num_images = len(batch.targets.annotated)
    return best_of_images(candidates, kept, num_images, max_detections=max_detections)


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
