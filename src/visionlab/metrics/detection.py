"""The COCO metrics: predictions are `Detections`, one for each image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster
from torch import Tensor
from torchvision.ops import box_iou

from visionlab.outputs import Annotated, BoxTargets, Detections

NAMES = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"),
)
IMAGE_IOU = 0.5  # of a detection that counts as right in the numbers of single images


class AveragePrecision:
    """COCO's twelve numbers, and `AP/<class>` for each class; -1 where there is nothing to find.

    They are those of pycocotools: AP over IoU 0.50 to 0.95, at most 100 detections an image,
    objects below 32 x 32 pixels small, from 96 x 96 on large, crowds counted neither way.

    Args:
        class_names: in the order of the labels.
        min_score: detections from this score on count in `num_missed` and `num_false`.

    Raises:
        ValueError: `min_score` is no score.
    """

    def __init__(self, *, class_names: Sequence[str], min_score: float) -> None:
        if not 0.0 <= min_score <= 1.0:
            raise ValueError(f"min_score must be in [0, 1], got {min_score}")
        self.names = [*NAMES, *(f"AP/{name}" for name in class_names)]
        self._min_score = min_score
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._found: list[Detections] = []
        self._annotated: list[Annotated] = []

    def update(self, predictions: Sequence[Detections], targets: BoxTargets) -> None:
        """Take in what was found in the images of a batch."""
        self._found += [Detections(*(part.cpu() for part in found)) for found in predictions]
        self._annotated += targets.annotated

    def compute(self) -> dict[str, float]:
        """Return the numbers.

        Raises:
            ValueError: nothing was taken in.
        """
        if not self._annotated:
            raise ValueError("an average precision needs at least one image, got 0")
        truth = COCO(_truth(self._annotated, num_classes=len(self.names) - len(NAMES)))
        evaluation = COCOeval_faster(
            truth, truth.loadRes(_results(self._found)), "bbox", print_function=_say_nothing
        )
        evaluation.run()
        per_class = [_mean(column) for column in np.moveaxis(_whole(evaluation), -1, 0)]
        numbers = [float(value) for value in evaluation.stats[: len(NAMES)]]
        return dict(zip(self.names, [*numbers, *per_class], strict=True))

    def samples(self) -> dict[str, Tensor]:
        """Return what was found, and how wrong that is for each image.

        `num_detections`, `num_missed` and `num_false` are (N,) int32; `boxes` (M, 4) float32 in
        original pixels, `scores` (M,) float32 and `labels` (M,) int16 have the detections of all
        images one after the other.
        """
        errors = [
            _count_errors(found, annotated, min_score=self._min_score)
            for found, annotated in zip(self._found, self._annotated, strict=True)
        ]
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*self._found, strict=True))
        return {
            "num_detections": torch.tensor([len(found.scores) for found in self._found]).int(),
            "num_missed": torch.tensor([missed for missed, _ in errors]).int(),
            "num_false": torch.tensor([false for _, false in errors]).int(),
            "boxes": boxes,
            "scores": scores,
            "labels": labels.short(),
        }


def _say_nothing(*words: object) -> None:
    pass


def _truth(annotated: Sequence[Annotated], *, num_classes: int) -> dict[str, Any]:
    """Return the annotations in COCO's form; images are numbered in the order they came."""
    entries: list[dict[str, Any]] = []
    for image, sample in enumerate(annotated):
        corners = sample.boxes.numpy()
        bboxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        columns = (bboxes, sample.labels, sample.crowd, sample.areas)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for bbox, label, is_crowd, area in rows:
            entries.append(
                {
                    "id": len(entries) + 1,  # 0 means "no match" in the evaluator
                    "image_id": image,
                    "category_id": label,
                    "bbox": bbox,
                    "area": area,
                    "iscrowd": int(is_crowd),
                }
            )
    return {
        "info": {},
        "images": [
            {"id": image, "width": sample.width_px, "height": sample.height_px}
            for image, sample in enumerate(annotated)
        ],
        "categories": [{"id": label, "name": str(label)} for label in range(num_classes)],
        "annotations": entries,
    }


def _results(found: Sequence[Detections]) -> list[dict[str, Any]]:
    """Return the detections in COCO's form."""
    results = []
    for image, (boxes, scores, labels) in enumerate(found):
        corners = boxes.double()
        bboxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)
        results += [
            {"image_id": image, "category_id": label, "bbox": bbox, "score": score}
            for bbox, score, label in zip(
                bboxes.tolist(), scores.tolist(), labels.tolist(), strict=True
            )
        ]
    return results


def _whole(evaluation: COCOeval_faster) -> Any:
    """Return precision (IoU, recall, class) of all areas and 100 detections."""
    return evaluation.eval["precision"][:, :, :, 0, -1]


def _mean(values: Any) -> float:
    """Return the mean of what is defined, or -1."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else -1.0


def _count_errors(found: Detections, annotated: Annotated, *, min_score: float) -> tuple[int, int]:
    """Return how many boxes of an image are missed, and how many detections find nothing.

    Each detection, the most certain first, takes the box of its class that it overlaps most and
    that is still free. One inside a crowd of its class is neither right nor wrong.
    """
    is_counted = found.scores >= min_score
    boxes, labels = found.boxes[is_counted].double(), found.labels[is_counted]
    single = ~annotated.crowd
    overlaps = box_iou(boxes, annotated.boxes[single])
    overlaps[labels[:, None] != annotated.labels[single]] = 0.0
    num_right, num_false = 0, 0
    for box, label, overlap in zip(boxes, labels, overlaps, strict=True):
        best = int(overlap.argmax()) if len(overlap) else 0
        if len(overlap) and overlap[best] >= IMAGE_IOU:
            overlaps[:, best] = 0.0
            num_right += 1
        elif not _is_in_crowd(box, annotated.boxes[annotated.crowd & (annotated.labels == label)]):
            num_false += 1
    return int(single.sum()) - num_right, num_false


def _is_in_crowd(box: Tensor, crowds: Tensor) -> bool:
    low, high = torch.maximum(box[:2], crowds[:, :2]), torch.minimum(box[2:], crowds[:, 2:])
    common = (high - low).clamp(min=0).prod(dim=1)
    return bool((common >= IMAGE_IOU * (box[2:] - box[:2]).prod()).any())
