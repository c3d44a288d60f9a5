"""Predicted points in plain containers."""

import functools
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from visionlab.core.numbers import shortest
from visionlab.task import CocoResults, Picture, Record, Results

_PREDICTED = 2  # COCO's visibility of a point; no point is predicted to be hidden


def point_results(point_names: Sequence[str]) -> Results:
    """Return the points of each image as x, y in its pixels.

    A table has a row for each image and can be read again as `dataset=points_csv`.
    """
    return Results(
        about={"point_names": list(point_names)},
        records=_records,
        columns=functools.partial(_columns, point_names=point_names),
        rows=_rows,
        coco=CocoResults(
            categories={1: "object"}, entries=functools.partial(_coco_entries, category=1)
        ),
        draw=_draw,
    )


def _records(predictions: Tensor) -> list[Record]:
    """Return a record for each row of points (B, K, 2)."""
    return [{"points": points} for points in shortest(predictions)]


def _columns(record: Record, *, point_names: Sequence[str]) -> list[str]:
    return [f"{name}_{axis}" for name in point_names for axis in "xy"]


def _rows(record: Record) -> list[list[Any]]:
    return [[coordinate for point in record["points"] for coordinate in point]]


def _coco_entries(record: Record, *, category: int) -> list[dict[str, Any]]:
    numbers = [number for point in record["points"] for number in (*point, _PREDICTED)]
    return [{"category_id": category, "keypoints": numbers, "score": 1.0}]


def _draw(picture: Picture, record: Record, min_score: float) -> None:
    picture.dots(record["points"])
