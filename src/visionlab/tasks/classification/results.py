"""Predicted classes in plain containers."""

import functools
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from visionlab.core.numbers import shortest
from visionlab.task import Picture, Record, Results

_MAX_TITLE = 40  # characters


def label_results(class_names: Sequence[str]) -> Results:
    """Return class and score of each image, and the probabilities of all classes."""
    return Results(
        about={"classes": list(class_names)},
        records=functools.partial(_records, class_names=class_names),
        columns=_columns,
        rows=_rows,
        coco=None,
        draw=_draw,
    )


def _records(predictions: Tensor, *, class_names: Sequence[str]) -> list[Record]:
    """Return a record for each row of probabilities (B, C)."""
    labels = predictions.argmax(dim=1).tolist()
    return [
        {"class": class_names[label], "score": row[label], "probabilities": row}
        for label, row in zip(labels, shortest(predictions), strict=True)
    ]


def _columns(record: Record) -> list[str]:
    return ["class", "score"]


def _rows(record: Record) -> list[list[Any]]:
    return [[record["class"], record["score"]]]


def _draw(picture: Picture, record: Record, min_score: float) -> None:
    picture.title(f"{record['class']:.{_MAX_TITLE}} {record['score']:.2f}")
