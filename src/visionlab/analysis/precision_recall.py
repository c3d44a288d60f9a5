"""Precision over recall from detections of which each is known to be right or wrong."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
RECALLS: Array = np.linspace(0.0, 1.0, 101)  # at which COCO reads a curve off


def precision_at_recalls(scores: Array, outcomes: Array, *, num_objects: int) -> Array:
    """Return the highest precision at or beyond each of `RECALLS`, (101,), 0 out of reach.

    It is COCO's interpolated curve, of which AP at one IoU is the mean (pycocotools'
    `COCOeval.accumulate`); detections of one score count in the order in which they come.

    Args:
        scores: of detections of one class in all images, (M,).
        outcomes: 1 for a right one, 0 for a wrong one, -1 for one that counts neither way, (M,).
        num_objects: how many there are to find.

    Raises:
        ValueError: there is nothing to find.
    """
    if num_objects < 1:
        raise ValueError(f"num_objects must be >= 1, got {num_objects}")
    counted = outcomes >= 0
    order = np.argsort(-scores[counted], kind="stable")
    is_right = outcomes[counted][order] == 1
    num_right = np.cumsum(is_right)
    precision = num_right / np.arange(1, len(is_right) + 1)
    best_from = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(num_right / num_objects, RECALLS, side="left")
    found: Array = np.append(best_from, 0.0)[places]
    return found
