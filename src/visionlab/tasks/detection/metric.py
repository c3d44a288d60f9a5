"""The COCO metrics: predictions are `Detections`, one for each image."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from visionlab.tasks.detection.average_precision import match
from visionlab.tasks.detection.overlaps import (
    annotated_boxes,
    concatenate,
    detected_boxes,
    find_overlaps,
)
from visionlab.tasks.detection.records import Annotated, BoxTargets, Detections
from visionlab.tasks.detection.submission import coco_annotations, coco_results

NAMES = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"),
)
MATCH_IOU = 0.5  # for the outcomes of single detections
MAX_DETECTIONS = 100  # of an image and class
RIGHT, WRONG, IGNORED = 1, 0, -1  # outcomes of a detection
Backend = Literal["faster_coco_eval", "pycocotools"]


class AveragePrecision:
    """COCO's twelve metrics, and `AP/<class>` for each class; -1 if there are no objects.

    They equal those of pycocotools: AP over IoU 0.50 to 0.95, at most 100 detections per image,
    objects below 32 x 32 pixels small, from 96 x 96 on large, crowds ignored.

    Args:
        class_names: in the order of the labels.
        backend: the package that computes the metric; both give the same, pycocotools slower.

    Raises:
        ValueError: there is no such backend.
    """

    def __init__(self, *, class_names: Sequence[str], backend: Backend) -> None:
        if backend not in get_args(Backend):
            raise ValueError(
                f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}"
            )
        self.names = [*NAMES, *(f"AP/{name}" for name in class_names)]
        self._num_classes = len(class_names)
        self._evaluate = _evaluate_fast if backend == "faster_coco_eval" else _evaluate_reference
        self.reset()

    def reset(self) -> None:
        """Reset the metric."""
        self._found: list[Detections] = []
        self._annotated: list[Annotated] = []

    def update(self, predictions: Sequence[Detections], targets: BoxTargets) -> None:
        """Add the detections of a batch."""
        self._found += [Detections(*(part.cpu() for part in found)) for found in predictions]
        self._annotated += targets.annotated

    def compute(self) -> dict[str, float]:
        """Return the numbers.

        Raises:
            ValueError: nothing was added.
        """
        if not self._annotated:
            raise ValueError("an average precision needs at least one image, got 0")
        truth = _truth(self._annotated, num_classes=self._num_classes)
        evaluation = self._evaluate(truth, _results(self._found))
        # precision is (IoU, recall, class, area, limit): all areas, 100 detections
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        defined = (column[column > -1] for column in np.moveaxis(precision, -1, 0))
        per_class = [float(column.mean()) if column.size else -1.0 for column in defined]
        numbers = [float(value) for value in evaluation.stats[: len(NAMES)]]
        return dict(zip(self.names, [*numbers, *per_class], strict=True))

    def samples(self) -> dict[str, Tensor]:
        """Return detections with their outcomes, and counts for each image.

        `num_detections` is (N,) int32, and `num_objects` (N, C) int16 is the number of annotated
        objects of each class without crowds. `boxes` (M, 4) float32 in original pixels, `scores`
        (M,) float32, `labels` (M,) int16, `outcomes` (M,) int8 and `ious` (M,) float32 hold the
        detections of all images in order; an outcome is `RIGHT`, `WRONG` or `IGNORED`, and the IoU
        is that with the object of a right one, otherwise 0. As in COCO, what is not among the
        `MAX_DETECTIONS` best of its image and class is ignored.
        """
        samples = matched_samples(self._found, self._annotated, num_classes=self._num_classes)
        # they choose last, and have taken nothing from any other
        is_beyond = _is_beyond(samples, self._num_classes)
        samples["outcomes"][is_beyond] = IGNORED
        samples["ious"][is_beyond] = 0.0
        return samples


def matched_samples(
    found: Sequence[Detections], annotated: Sequence[Annotated], *, num_classes: int
) -> dict[str, Tensor]:
    """Return what `AveragePrecision.samples` does, without a limit of detections.

    The outcomes are those of COCO's matching at an IoU of 0.5, also of oriented boxes.
    """
    samples = concatenate(found)
    overlaps = find_overlaps(
        detected_boxes(samples, num_classes), annotated_boxes(annotated, num_classes)
    )
    matched = match(overlaps, iou_thresholds=[MATCH_IOU], matching="coco", num_classes=num_classes)
    outcomes = np.empty(len(matched.rows), dtype=np.int8)
    outcomes[matched.rows] = np.where(matched.is_counted[0], matched.is_right[0], IGNORED)
    ious = np.empty(len(matched.rows), dtype=np.float32)
    ious[matched.rows] = matched.ious[0]
    objects = [each.labels[~each.crowd] for each in annotated]
    num_objects = torch.stack([labels.bincount(minlength=num_classes) for labels in objects])
    return {
        **samples,
        "num_objects": num_objects.short(),
        "outcomes": torch.from_numpy(outcomes),
        "ious": torch.from_numpy(ious),
    }


def _is_beyond(samples: Mapping[str, Tensor], num_classes: int) -> Tensor:
    """Return which detections are not among the best of their image and class, (M,) bool."""
    groups, scores = detected_boxes(samples, num_classes)[2], -samples["scores"].numpy()
    order = np.lexsort((scores, groups))
    places = np.arange(len(order)) - np.searchsorted(groups[order], groups[order])
    is_beyond = np.empty(len(order), dtype=np.bool_)
    is_beyond[order] = places >= MAX_DETECTIONS
    return torch.from_numpy(is_beyond)


def _evaluate_fast(truth: dict[str, Any], results: Sequence[Mapping[str, Any]]) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster

    coco = COCO(truth)
    evaluation = COCOeval_faster(
        coco, coco.loadRes(results), "bbox", print_function=lambda *_: None
    )
    evaluation.run()
    return evaluation


def _evaluate_reference(truth: dict[str, Any], results: Sequence[Mapping[str, Any]]) -> Any:
    """Return the finished evaluation of pycocotools, which prints its progress."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(None):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        found = coco.loadRes(results) if results else COCO()  # loadRes fails without results
        evaluation = COCOeval(coco, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _truth(annotated: Sequence[Annotated], *, num_classes: int) -> dict[str, Any]:
    """Return the annotations in COCO's format; images are numbered in order."""
    numbered = [replace(sample, key=number) for number, sample in enumerate(annotated)]
    return coco_annotations(numbered, {label: str(label) for label in range(num_classes)})


def _results(found: Sequence[Detections]) -> list[dict[str, Any]]:
    counts = torch.tensor([len(each.scores) for each in found])
    images = torch.arange(len(found)).repeat_interleave(counts)
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    return coco_results(images.tolist(), labels.tolist(), boxes, scores)
