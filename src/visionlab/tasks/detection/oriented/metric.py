"""Average precision of oriented boxes: predictions are `Detections`, one for each image."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
from torch import Tensor

from visionlab.core.checks import check_choice, is_in
from visionlab.tasks.detection.average_precision import (
    Area,
    Floats,
    Matching,
    class_average_precision,
    match,
)
from visionlab.tasks.detection.metric import matched_samples
from visionlab.tasks.detection.overlaps import (
    annotated_boxes,
    concatenate,
    detected_boxes,
    find_overlaps,
)
from visionlab.tasks.detection.records import Annotated, BoxTargets, Detections


class OrientedAveragePrecision:
    """AP of classes by the IoU of polygons; -1 if there are no objects.

    `AP` is the mean over IoU thresholds and classes with objects, `AP50` that of a threshold, and
    `AP/<class>` that of a class. Crops have been merged: a page counts as one image.

    Args:
        class_names: in the order of the labels.
        iou_thresholds: from which IoU on a detection is right.
        matching: `coco`; `dota` as in DOTA's task 1; `legacy` as in DeepScoresV2's first
            evaluation, whose means leave out classes without detections; see `match`.
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
        table = self._table()
        means = [_mean(table), *map(_mean, table.T), *map(_mean, table)]
        return dict(zip(self.names, means, strict=True))

    def _table(self) -> Floats:
        """Return the AP of each class and threshold, (C, T), NaN where it is undefined."""
        found = detected_boxes(concatenate(self._found), self._num_classes)
        outcomes = match(
            find_overlaps(found, annotated_boxes(self._annotated, self._num_classes)),
            iou_thresholds=self._iou_thresholds,
            matching=self.matching,
            num_classes=self._num_classes,
        )
        table = class_average_precision(outcomes, area=self.area)
        if self.matching == "legacy":
            table[np.bincount(found.labels, minlength=self._num_classes) == 0] = np.nan
        return table

    def samples(self) -> dict[str, Tensor]:
        """Return detections with their outcomes, and counts for each image.

        They are those of `AveragePrecision.samples`, but `boxes` are (M, 5), and any number of
        detections counts. Whatever the settings, an outcome is that of `coco` at an IoU of 0.5.
        """
        return matched_samples(self._found, self._annotated, num_classes=self._num_classes)


def _mean(values: Floats) -> float:
    """Return the mean of the defined values, -1 without any."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else -1.0
