"""Detections in plain containers."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from visionlab.core import oriented_boxes
from visionlab.core.numbers import shortest
from visionlab.core.polygons import bounds
from visionlab.task import CocoResults, Picture, Record, Results
from visionlab.tasks.detection.records import Detections
from visionlab.tasks.detection.submission import coco_shapes

# names of the numbers of a box, by format
_COLUMNS = {
    "xyxy": ("x1", "y1", "x2", "y2"),
    "corners": ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4"),
}
_MAX_CLASS = 24  # characters


def box_results(categories: Mapping[int, str]) -> Results:
    """Return the detections of each image, highest scores first, in its pixels.

    A box is x1, y1, x2, y2, an oriented one its four corners, clockwise. A table has a row for each
    box, one with empty cells for an image without any; one of upright boxes can be read again as
    `dataset=boxes_csv`. `categories` are names by id, in the order of the labels.
    """
    names = list(categories.values())
    return Results(
        about={"classes": names},
        records=functools.partial(_records, class_names=names),
        columns=_columns,
        rows=_rows,
        coco=CocoResults(
            categories=categories, entries=functools.partial(_coco_entries, ids=list(categories))
        ),
        draw=_draw,
    )


def _records(predictions: Sequence[Detections], *, class_names: Sequence[str]) -> list[Record]:
    return [_record(found, class_names) for found in predictions]


def _record(found: Detections, class_names: Sequence[str]) -> Record:
    is_oriented = found.boxes.shape[1:] == (5,)
    boxes = oriented_boxes.corners(found.boxes.double()).flatten(1) if is_oriented else found.boxes
    columns = (found.labels.tolist(), shortest(found.scores), shortest(boxes))
    return {
        "box_format": "corners" if is_oriented else "xyxy",
        "detections": [
            {"class": class_names[label], "label": label, "score": score, "box": box}
            for label, score, box in zip(*columns, strict=True)
        ],
    }


def _columns(record: Record) -> list[str]:
    return [*_COLUMNS[record["box_format"]], "class", "score"]


def _rows(record: Record) -> list[list[Any]]:
    rows = [[*each["box"], each["class"], each["score"]] for each in record["detections"]]
    return rows or [[""] * len(_columns(record))]


def _coco_entries(record: Record, *, ids: Sequence[int]) -> list[dict[str, Any]]:
    found, polygons = record["detections"], None
    boxes = torch.tensor([each["box"] for each in found], dtype=torch.float64)
    if record["box_format"] == "corners":
        polygons = boxes.view(-1, 4, 2)
        boxes = bounds(polygons)
    shapes = coco_shapes(boxes.view(-1, 4), polygons)
    return [
        {"category_id": ids[each["label"]], **shape, "score": each["score"]}
        for each, shape in zip(found, shapes, strict=True)
    ]


def _draw(picture: Picture, record: Record, min_score: float) -> None:
    shown = [each for each in record["detections"] if each["score"] >= min_score]
    for each in reversed(shown):  # the best on top
        corners = [each["box"][start : start + 2] for start in range(0, len(each["box"]), 2)]
        if record["box_format"] == "xyxy":
            (x1, y1), (x2, y2) = corners
            corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
        text = f"{each['class']:.{_MAX_CLASS}} {each['score']:.2f}"
        picture.outline(corners, text, colour=each["label"])
