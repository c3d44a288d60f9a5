"""Tables that compare the detectors of an ensemble."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from visionlab.core.boxes import areas, intersections
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
    Floats,
    Ints,
    Matcher,
    Outcomes,
    Overlaps,
    Rule,
    class_average_precision,
    match,
    pooled_average_precision,
)
from visionlab.tasks.detection.records import Annotated

SHOWN_IOU = 0.5  # of the tables with one value per class and model
_DECIMALS = 2  # of the class-wise table, as in `s2anet`
_TINY = 1e-12  # square pixels


class _Boxes(NamedTuple):
    """Objects or detections (K,) in an image; objects have no scores, detections are no crowds."""

    boxes: Tensor  # (K, 4) float64
    labels: Ints
    scores: NDArray[np.float32]
    is_crowd: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class DetectionComparison:
    """Writer of tables with the average precision (AP) of the members of an ensemble.

    Names and columns of the files are those of `s2anet`'s evaluation of snapshot ensembles.

    Attributes:
        iou_thresholds: columns of `<model>_metrics.csv`; 0.5 must be one, that of the other files.
        matcher: `correct`, as COCO's, or `legacy`, for comparison; see `match`.
        rule: of the area below precision and recall, `continuous` or `eleven_point`.
        variable_classes: names of classes whose mean is the row `variable_mean`; may be empty.
        ensemble_column: name of the ensemble in tables.
    """

    iou_thresholds: Sequence[float]
    matcher: Matcher
    rule: Rule
    variable_classes: Sequence[str]
    ensemble_column: str

    def __post_init__(self) -> None:
        check_choice(self, ("correct", "legacy"), "matcher")
        check_choice(self, ("continuous", "eleven_point"), "rule")
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
        means = self._means(class_names)
        models = {name: _detections(samples) for name, samples in members.items()}
        objects = _objects(split.samples, ensemble["keys"])
        outcomes = {
            name: self._match(found, objects, self.iou_thresholds, num_classes=len(class_names))
            for name, found in {**models, self.ensemble_column: _detections(ensemble)}.items()
        }
        rows = Rows(
            kind="class",
            names=class_names,
            counts=outcomes[self.ensemble_column].num_objects,
            means=means,
        )
        write_overlap(
            folder / "overlap" / "overlap_matrix.csv",
            self._overlap(list(models.values()), num_classes=len(class_names)),
            names=list(models),
        )
        self._write_precisions(folder, outcomes, rows)

    def _write_precisions(self, folder: Path, outcomes: Mapping[str, Outcomes], rows: Rows) -> None:
        """Write the tables of the members and, last of `outcomes`, the ensemble."""
        shown = {}
        for name, each in outcomes.items():
            precision = class_average_precision(each, rule=self.rule)
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

    def _overlap(self, models: Sequence[Sequence[_Boxes]], *, num_classes: int) -> Floats:
        """Return the average precision of each model, a row, on detections of another, a column."""
        matrix = np.ones((len(models), len(models)))
        for row, found in enumerate(models):
            for column, objects in enumerate(models):
                if row != column:
                    outcomes = self._match(found, objects, [SHOWN_IOU], num_classes=num_classes)
                    (matrix[row, column],) = pooled_average_precision(outcomes, rule=self.rule)
        return matrix

    def _match(
        self,
        found: Sequence[_Boxes],
        objects: Sequence[_Boxes],
        iou_thresholds: Sequence[float],
        *,
        num_classes: int,
    ) -> Outcomes:
        return match(
            list(map(_overlaps, found, objects)),
            iou_thresholds=iou_thresholds,
            matcher=self.matcher,
            num_classes=num_classes,
        )


def _detections(samples: Mapping[str, Tensor]) -> list[_Boxes]:
    """Return the detections of each image."""
    counts = samples["num_detections"].tolist()
    columns = (samples["boxes"].double(), samples["labels"].long(), samples["scores"])
    return [
        _Boxes(boxes, labels.numpy(), scores.numpy(), np.zeros(len(labels), dtype=np.bool_))
        for boxes, labels, scores in zip(*(each.split(counts) for each in columns), strict=True)
    ]


def _objects(samples: Sequence[Annotated], keys: Tensor) -> list[_Boxes]:
    """Return the objects of each image, in the order of the keys."""
    by_key = {sample.key: sample for sample in samples}
    none = np.empty(0, dtype=np.float32)
    return [
        _Boxes(each.boxes, each.labels.numpy(), none, each.crowd.numpy())
        for each in map(by_key.__getitem__, keys.tolist())
    ]


def _overlaps(found: _Boxes, objects: _Boxes) -> Overlaps:
    common = intersections(found.boxes[:, None], objects.boxes).numpy()
    sizes = areas(found.boxes)[:, None].numpy()
    union = sizes + areas(objects.boxes).numpy() - common
    return Overlaps(
        ious=common / np.maximum(np.where(objects.is_crowd, sizes, union), _TINY),
        scores=found.scores,
        labels=found.labels,
        object_labels=objects.labels,
        is_crowd=objects.is_crowd,
    )
