"""Decoding of a detector's outputs into oriented boxes in the original image."""

from dataclasses import dataclass

import torch

from visionlab.core import oriented_boxes
from visionlab.core.checks import check_at_least, check_range
from visionlab.task import Batch
from visionlab.tasks.detection.model.decode import (
    Candidates,
    best_of_images,
    dense_candidates,
    in_originals,
)
from visionlab.tasks.detection.oriented.nms import oriented_nms
from visionlab.tasks.detection.records import DenseOutput, Detections, OrientedOutput


@dataclass(frozen=True, kw_only=True)
class OrientedDetect:
    """Decoding, NMS per class by the IoU of oriented boxes, and a limit on their number.

    The crops of a page go through NMS together. For DOTA and DeepScoresV2, `nms_iou` 0.1 is usual.
    Boxes may extend beyond the image.

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
    def __call__(self, outputs: OrientedOutput, batch: Batch) -> list[Detections]:
        """Return the detections of each image of a batch, boxes (D, 5) in original pixels."""
        images, anchors, labels, logits = dense_candidates(
            DenseOutput(*outputs),
            score_threshold=self.score_threshold,
            candidates_per_level=self.candidates_per_level,
        )
        deltas = outputs.deltas[images, anchors].float() * outputs.box_std
        found = oriented_boxes.decode(deltas, oriented_boxes.from_boxes(outputs.anchors[anchors]))
        candidates = in_originals(
            Candidates(found, logits.sigmoid(), images, labels), batch, oriented_boxes.transform
        )
        groups = candidates.images * outputs.logits.shape[-1] + candidates.labels
        kept = oriented_nms(candidates.boxes, candidates.scores, groups, iou_threshold=self.nms_iou)
        num_images = len(batch.targets.annotated)
        return best_of_images(candidates, kept, num_images, max_detections=self.max_detections)
