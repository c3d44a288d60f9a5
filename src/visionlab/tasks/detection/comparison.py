"""Tables that compare the detectors of an ensemble."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionlab.core import oriented_boxes, polygons
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
from visionlab.tasks.detection.fuse.pairs import touching_pairs
from visionlab.tasks.detection.records import Annotated

SHOWN_IOU = 0.5  # of the tables with one value per class and model
_ORIENTED = 5  # numbers of an oriented box
_DECIMALS = 2  # of the class-wise table, as in `s2anet`


class _Boxes(NamedTuple):
    """Boxes of all images: objects, which have no scores, or detections, which are no crowds."""

    boxes: Floats  # (4, K) as x1, y1, x2, y2, around the polygons
    polygons: Tensor | None  # (K, 4, 2) of oriented boxes
    groups: Ints  # (K,), number the pairs of image and label
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
        num_classes = len(class_names)
        means = self._means(class_names)
        models = {name: _detections(each, num_classes) for name, each in members.items()}
        objects = _objects(split.samples, ensemble["keys"], num_classes)
        outcomes = {
            name: self._match(_overlaps(found, objects), self.iou_thresholds, num_classes)
            for name, found in [
                *models.items(),
                (self.ensemble_column, _detections(ensemble, num_classes)),
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

    def _overlap(self, models: Sequence[_Boxes], num_classes: int) -> Floats:
        """Return the average precision of each model, a row, on detections of another, a column."""
        matrix = np.ones((len(models), len(models)))
        for row, column in itertools.permutations(range(len(models)), 2):
            overlaps = _overlaps(models[row], models[column])
            outcomes = self._match(overlaps, [SHOWN_IOU], num_classes)
            (matrix[row, column],) = pooled_average_precision(outcomes, rule=self.rule)
        return matrix

    def _match(
        self, overlaps: Overlaps, iou_thresholds: Sequence[float], num_classes: int
    ) -> Outcomes:
        return match(
            overlaps, iou_thresholds=iou_thresholds, matcher=self.matcher, num_classes=num_classes
        )


def _detections(samples: Mapping[str, Tensor], num_classes: int) -> _Boxes:
    """Return the detections of all images, given the metric's per-sample results."""
    counts = samples["num_detections"].numpy()
    labels, boxes = samples["labels"].long().numpy(), samples["boxes"].double()
    is_oriented = boxes.shape[1] == _ORIENTED
    return _Boxes(
        boxes=(oriented_boxes.enclosing(boxes) if is_oriented else boxes).numpy().T,
        polygons=oriented_boxes.corners(boxes) if is_oriented else None,
        groups=np.repeat(np.arange(len(counts)), counts) * num_classes + labels,
        labels=labels,
        scores=samples["scores"].numpy(),
        is_crowd=np.zeros(len(labels), dtype=np.bool_),
    )


def _objects(samples: Sequence[Annotated], keys: Tensor, num_classes: int) -> _Boxes:
    """Return the objects of all images, in the order of the keys."""
    by_key = {sample.key: sample for sample in samples}
    ordered = [by_key[key] for key in keys.tolist()]
    counts = [len(sample.labels) for sample in ordered]
    labels = torch.cat([sample.labels for sample in ordered]).numpy()
    boxes = torch.cat([sample.boxes for sample in ordered])
    corners = [
        oriented_boxes.corners(oriented_boxes.from_boxes(sample.boxes))
        if sample.polygons is None
        else sample.polygons
        for sample in ordered
    ]
    return _Boxes(
        boxes=boxes.numpy().T,
        polygons=torch.cat(corners),
        groups=np.repeat(np.arange(len(counts)), counts) * num_classes + labels,
        labels=labels,
        scores=np.empty(0, dtype=np.float32),
        is_crowd=torch.cat([sample.crowd for sample in ordered]).numpy(),
    )


def _overlaps(found: _Boxes, objects: _Boxes) -> Overlaps:
    """Return the pairs of detections and objects that touch or overlap."""
    count = len(found.labels)
    boxes = np.concatenate([found.boxes, objects.boxes], axis=1)
    groups = np.concatenate([found.groups, objects.groups])
    has_area = np.flatnonzero((boxes[2:] > boxes[:2]).all(axis=0))
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for pair in touching_pairs(boxes[:, has_area], groups[has_area]):
        lower, higher = has_area[pair[0]], has_area[pair[1]]
        is_mixed = (lower < count) & (higher >= count)
        detections, rows = lower[is_mixed], higher[is_mixed] - count
        parts.append((detections, rows, _ious(found, detections, objects, rows)))
    pairs = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Overlaps(found.scores, found.labels, objects.labels, objects.is_crowd, *pairs)


def _ious(found: _Boxes, detections: Ints, objects: _Boxes, rows: Ints) -> Floats:
    """Return the IoUs of pairs of detections and objects, or the shares inside crowds, (P,)."""
    if found.polygons is None or objects.polygons is None:
        boxes, others = found.boxes[:, detections], objects.boxes[:, rows]
        low, high = np.maximum(boxes[:2], others[:2]), np.minimum(boxes[2:], others[2:])
        common = np.maximum(high - low, 0.0).prod(axis=0)
        sizes, other_sizes = ((each[2:] - each[:2]).prod(axis=0) for each in (boxes, others))
    else:
        one, other = found.polygons[detections], objects.polygons[rows]
        common = polygons.intersections(one, other).numpy()
        sizes, other_sizes = (polygons.areas(each).numpy() for each in (one, other))
    union = sizes + other_sizes - common
    ious: Floats = common / np.where(objects.is_crowd[rows], sizes, union)
    return ious
