"""The COCO metrics: predictions are `Detections`, one for each image."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionlab.core.boxes import areas, intersections
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
_TINY = 1e-12  # square pixels


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
        is that with the object of a right one, otherwise 0.
        """
        pairs = list(zip(self._found, self._annotated, strict=True))
        outcomes, ious = zip(
            *(_outcomes(found, annotated) for found, annotated in pairs), strict=True
        )
        objects = [annotated.labels[~annotated.crowd] for annotated in self._annotated]
        counts = [labels.bincount(minlength=self._num_classes) for labels in objects]
        num_objects = torch.stack(counts).short()
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*self._found, strict=True))
        return {
            "num_detections": torch.tensor([len(found.scores) for found in self._found]).int(),
            "num_objects": num_objects,
            "boxes": boxes,
            "scores": scores,
            "labels": labels.short(),
            "outcomes": torch.from_numpy(np.concatenate(outcomes)),
            "ious": torch.from_numpy(np.concatenate(ious)),
        }


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


def _outcomes(
    found: Detections, annotated: Annotated
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return the outcomes of the detections in an image at an IoU of 0.5, and the IoUs, each (D,).

    As in COCO, the `MAX_DETECTIONS` best of each class count. In the order of their scores, each is
    matched with the unmatched object of its class of the highest IoU. An unmatched detection inside
    a crowd of its class is ignored.
    """
    outcomes = np.full(len(found.scores), WRONG, dtype=np.int8)
    ious = np.zeros(len(found.scores), dtype=np.float32)
    boxes, objects = found.boxes.double(), annotated.boxes
    labels, object_labels = found.labels.numpy(), annotated.labels.numpy()
    order = np.argsort(-found.scores.numpy(), kind="stable")
    crowd = annotated.crowd.numpy()
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        outcomes[rows[MAX_DETECTIONS:]] = IGNORED
        rows, is_same = rows[:MAX_DETECTIONS], object_labels == label
        outcomes[rows], ious[rows] = _matched(boxes[rows], objects[is_same], crowd[is_same])
    return outcomes, ious


def _matched(
    boxes: Tensor, objects: Tensor, crowd: NDArray[np.bool_]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return outcomes and IoUs of detections (D, 4) of one class, highest scores first."""
    common = intersections(boxes[:, None], objects).numpy()
    sizes = areas(boxes)[:, None].numpy()
    inside = (common >= MATCH_IOU * sizes)[:, crowd].any(axis=1)
    outcomes = np.where(inside, IGNORED, WRONG).astype(np.int8)
    ious = np.zeros(len(boxes), dtype=np.float32)
    union = sizes + areas(objects).numpy() - common
    overlaps = (common / np.maximum(union, _TINY))[:, ~crowd]
    overlaps[overlaps < MATCH_IOU] = 0.0
    for row in overlaps.any(axis=1).nonzero()[0]:
        # the last of equal overlaps, as in COCO's loop
        best = overlaps.shape[1] - 1 - overlaps[row, ::-1].argmax()
        if overlaps[row, best]:
            outcomes[row] = RIGHT
            ious[row] = overlaps[row, best]
            overlaps[:, best] = 0.0
    return outcomes, ious
