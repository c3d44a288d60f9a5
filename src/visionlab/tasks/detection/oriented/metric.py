"""Average precision of oriented boxes: predictions are `Detections`, one for each image."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionlab.core.checks import check_choice, is_in
from visionlab.core.oriented_boxes import corners, from_boxes
from visionlab.core.polygons import pairwise_iou
from visionlab.tasks.detection.metric import IGNORED, MATCH_IOU, RIGHT
from visionlab.tasks.detection.oriented.matching import MATCHERS, Matching, best_free
from visionlab.tasks.detection.records import Annotated, BoxTargets, Detections

Area = Literal["continuous", "11_point", "101_point"]
_SLACK = 1e-9  # of recalls: in binary, 3 of 5 is less than 6 times 0.1


class OrientedAveragePrecision:
    """AP of classes by the IoU of polygons; -1 if there are no objects.

    `AP` is the mean over IoU thresholds and classes with objects, `AP50` that of a threshold, and
    `AP/<class>` that of a class. Crops have been merged: a page counts as one image.

    Args:
        class_names: in the order of the labels.
        iou_thresholds: from which IoU on a detection is right.
        matching: `best_free` as in COCO; `dota` as in DOTA's task 1; `deepscores` as in
            DeepScoresV2's first evaluation, whose means leave out classes without detections.
        area: under the curve of precision over recall, where precision is the highest at this or
            a higher recall: `continuous`, or the mean at 11 (VOC 2007, DOTA) or 101 (COCO) recalls
            from 0 to 1.

    Raises:
        ValueError: there is no such rule, or a threshold is not in (0, 1).
    """

    def __init__(
        self,
        *,
        class_names: Sequence[str],
        iou_thresholds: Sequence[float],
        matching: Matching,
        area: Area,
    ) -> None:
        self.matching, self.area = matching, area
        check_choice(self, get_args(Matching), "matching")
        check_choice(self, get_args(Area), "area")
        if not iou_thresholds or not all(is_in("(0, 1)", each) for each in iou_thresholds):
            raise ValueError(
                f"iou_thresholds must be numbers in (0, 1), got {list(iou_thresholds)}"
            )
        self._iou_thresholds = list(iou_thresholds)
        of_thresholds = [f"AP{100 * each:g}" for each in iou_thresholds]
        self.names = ["AP", *of_thresholds, *(f"AP/{name}" for name in class_names)]
        self._num_classes = len(class_names)
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
        outcomes = np.concatenate(
            [
                MATCHERS[self.matching](*_compared(*pair), self._iou_thresholds)
                for pair in zip(self._found, self._annotated, strict=True)
            ],
            axis=1,
        )
        table = self._table(outcomes)
        means = [_mean(table), *map(_mean, table), *map(_mean, table.T)]
        return dict(zip(self.names, means, strict=True))

    def _table(self, outcomes: NDArray[np.int8]) -> NDArray[np.float64]:
        """Return the AP of each threshold and class, (T, C), NaN where it is undefined."""
        scores, labels = (
            np.concatenate([getattr(found, part).numpy() for found in self._found])
            for part in ("scores", "labels")
        )
        order = np.argsort(-scores, kind="stable")
        table = np.full((len(outcomes), self._num_classes), np.nan)
        with_difficult = self.matching == "deepscores"
        num_objects = _num_objects(self._annotated, self._num_classes, with_difficult).sum(dim=0)
        for label, count in enumerate(num_objects.tolist()):
            rows = order[labels[order] == label]
            if not count or (self.matching == "deepscores" and not len(rows)):
                continue
            for number, found in enumerate(outcomes[:, rows]):
                is_right = found[found != IGNORED] == RIGHT
                table[number, label] = average_precision(is_right, count, area=self.area)
        return table

    def samples(self) -> dict[str, Tensor]:
        """Return detections with their outcomes, and counts for each image.

        They are those of `AveragePrecision.samples`, but `boxes` are (M, 5). An outcome is that of
        `best_free` at an IoU of 0.5.
        """
        pairs = zip(self._found, self._annotated, strict=True)
        outcomes = [best_free(*_compared(*pair), [MATCH_IOU])[0] for pair in pairs]
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*self._found, strict=True))
        return {
            "num_detections": torch.tensor([len(found.scores) for found in self._found]).int(),
            "num_objects": _num_objects(self._annotated, self._num_classes, False).short(),
            "boxes": boxes,
            "scores": scores,
            "labels": labels.short(),
            "outcomes": torch.from_numpy(np.concatenate(outcomes)),
        }


def average_precision(is_right: NDArray[np.bool_], num_objects: int, *, area: Area) -> float:
    """Return the AP of a class from its detections by falling score; `area` as in the metric."""
    right = is_right.cumsum()
    recall = right / num_objects
    precision = right / np.arange(1, len(right) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]  # at this or a higher recall
    if area == "continuous":
        return float((np.diff(recall, prepend=0.0) * highest).sum())
    places = np.linspace(0.0, 1.0, int(area.removesuffix("_point")))
    first = np.searchsorted(recall, places - _SLACK)
    return float(np.append(highest, 0.0)[first].mean())


def annotated_polygons(annotated: Annotated) -> Tensor:
    """Return the corners of the objects of an image, (K, 4, 2) float64; upright boxes have them."""
    if annotated.polygons is None:
        return corners(from_boxes(annotated.boxes))
    return annotated.polygons


def _compared(
    found: Detections, annotated: Annotated
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.bool_]]:
    """Return the overlaps (D, G) within classes, the scores, and which objects are difficult."""
    overlaps = pairwise_iou(corners(found.boxes.double()), annotated_polygons(annotated))
    is_same = found.labels[:, None] == annotated.labels
    return (overlaps * is_same).numpy(), found.scores.numpy(), annotated.crowd.numpy()


def _num_objects(annotated: Sequence[Annotated], num_classes: int, with_difficult: bool) -> Tensor:
    """Return the number of objects of each image and class, (N, C)."""
    counted = [each.labels[~each.crowd | with_difficult] for each in annotated]
    return torch.stack([labels.bincount(minlength=num_classes) for labels in counted])


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of the defined values, -1 without any."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else -1.0
