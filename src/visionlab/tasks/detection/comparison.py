"""Tables that compare the detectors of an ensemble."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from torch import Tensor

from visionlab.core.checks import check_choice, is_in
from visionlab.files.model_tables import (
    COUNT,
    Rows,
    write_overlap,
    write_spread,
    write_values,
)
from visionlab.images.splits import ImageSplit
from visionlab.tasks.detection.average_precision import (
    Area,
    Floats,
    Matching,
    Outcomes,
    Overlaps,
    class_average_precision,
    match,
    pooled_average_precision,
)
from visionlab.tasks.detection.overlaps import (
    SplitBoxes,
    annotated_boxes,
    detected_boxes,
    find_overlaps,
)

SHOWN_IOU = 0.5  # of the tables with one value per class and model
_DECIMALS = 2  # of the class-wise table, as in `s2anet`


@dataclass(frozen=True, kw_only=True)
class DetectionComparison:
    """Writer of tables with the average precision (AP) of the members of an ensemble.

    Names and columns of the files are those of `s2anet`'s evaluation of snapshot ensembles.

    Attributes:
        iou_thresholds: columns of `<model>_metrics.csv`; 0.5 must be one, that of the other files.
        matching: `coco`, `dota` or `legacy`, for comparison; see `match`.
        area: under the curve, `continuous`, `11_point` or `101_point`; see
            `class_average_precision`.
        variable_classes: names of classes whose mean is the row `variable_mean`; may be empty.
        ensemble_column: name of the ensemble in tables.
    """

    iou_thresholds: Sequence[float]
    matching: Matching
    area: Area
    variable_classes: Sequence[str]
    ensemble_column: str

    def __post_init__(self) -> None:
        check_choice(self, get_args(Matching), "matching")
        check_choice(self, get_args(Area), "area")
        for threshold in self.iou_thresholds:
            if not is_in("(0, 1]", threshold):
                raise ValueError(f"iou_thresholds must be in (0, 1], got {threshold}")
        if SHOWN_IOU not in self.iou_thresholds:
            got = list(self.iou_thresholds)
            raise ValueError(f"iou_thresholds must have {SHOWN_IOU}, got {got}")

    def __call__(
        self,
        folder: Path,
        members: Mapping[str, Mapping[str, Tensor]],
        ensemble: Mapping[str, Tensor],
        split: ImageSplit[Any],
        *,
        class_names: Sequence[str],
    ) -> None:
        """Write the tables into a folder.

        - `<model>_metrics.csv`: AP of each class at each threshold, also of the ensemble.
        - `overview_metrics.csv`: AP of each class and model at an IoU of 0.5.
        - `compare_metrics/IOU_0-5_class_wise_APs.csv`: how that AP spreads over the members.
        - `overlap/overlap_matrix.csv`: AP at an IoU of 0.5 of all detections of the row's model,
          with those of the column's as objects.

        A class without objects has empty cells and no part in means; one that a model never detects
        has an AP of 0.

        Args:
            folder: the folder of the files.
            members: what `AveragePrecision.samples` returns, and `keys`, by member.
            ensemble: likewise; samples are in the same order in all of them.
            split: the images.
            class_names: in the order of the labels.

        Raises:
            ValueError: a variable class does not exist.
        """
        num_classes = len(class_names)
        means = self._means(class_names)
        models = {name: detected_boxes(each, num_classes) for name, each in members.items()}
        by_key = {sample.key: sample for sample in split.samples}
        ordered = [by_key[key] for key in ensemble["keys"].tolist()]
        objects = annotated_boxes(ordered, num_classes)
        outcomes = {
            name: self._match(find_overlaps(found, objects), self.iou_thresholds, num_classes)
            for name, found in [
                *models.items(),
                (self.ensemble_column, detected_boxes(ensemble, num_classes)),
            ]
        }
        counts = outcomes[self.ensemble_column].num_objects
        rows = Rows(kind="class", names=class_names, counts=counts, means=means)
        self._write_precisions(folder, outcomes, rows)
        matrix = self._overlap(list(models.values()), num_classes)
        write_overlap(folder / "overlap" / "overlap_matrix.csv", matrix, names=list(models))

    def _write_precisions(self, folder: Path, outcomes: Mapping[str, Outcomes], rows: Rows) -> None:
        """Write the tables of the members and, last of `outcomes`, the ensemble."""
        shown = {}
        for name, each in outcomes.items():
            precision = class_average_precision(each, area=self.area)
            of_thresholds = dict(zip(self.iou_thresholds, precision.T, strict=True))
            columns = {f"{threshold:g}": values for threshold, values in of_thresholds.items()}
            write_values(folder / f"{name}_metrics.csv", {**columns, COUNT: rows.counts}, rows)
            shown[name] = of_thresholds[SHOWN_IOU]
        write_values(folder / "overview_metrics.csv", shown, rows)
        ensemble = {self.ensemble_column: shown.pop(self.ensemble_column)}
        path = folder / "compare_metrics" / "IOU_0-5_class_wise_APs.csv"
        write_spread(path, list(shown.values()), ensemble, rows, decimals=_DECIMALS)

    def _means(self, class_names: Sequence[str]) -> dict[str, list[int]]:
        """Return the classes of each row of means.

        Raises:
            ValueError: a variable class does not exist.
        """
        numbers = {name: number for number, name in enumerate(class_names)}
        for name in self.variable_classes:
            if name not in numbers:
                raise ValueError(f"variable_classes must be names of classes, got {name!r}")
        means = {"overall_mean": list(numbers.values())}
        if self.variable_classes:
            means["variable_mean"] = [numbers[name] for name in self.variable_classes]
        return means

    def _overlap(self, models: Sequence[SplitBoxes], num_classes: int) -> Floats:
        """Return the average precision of each model, a row, on detections of another, a column."""
        matrix = np.ones((len(models), len(models)))
        for row, column in itertools.permutations(range(len(models)), 2):
            overlaps = find_overlaps(models[row], models[column])
            outcomes = self._match(overlaps, [SHOWN_IOU], num_classes)
            (matrix[row, column],) = pooled_average_precision(outcomes, area=self.area)
        return matrix

    def _match(
        self, overlaps: Overlaps, iou_thresholds: Sequence[float], num_classes: int
    ) -> Outcomes:
        return match(
            overlaps, iou_thresholds=iou_thresholds, matching=self.matching, num_classes=num_classes
        )
