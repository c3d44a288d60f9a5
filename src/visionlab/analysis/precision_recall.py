"""Precision-recall curves."""

import numpy as np

from visionlab.analysis.predictions import Array

RECALLS: Array = np.linspace(0.0, 1.0, 101)  # at which COCO samples a curve


def precision_at_recalls(scores: Array, outcomes: Array, *, num_objects: int) -> Array:
    """Return the highest precision at or beyond each of `RECALLS`, 0 if out of reach, (101,).

    This is COCO's interpolated curve, whose mean is AP at one IoU (pycocotools'
    `COCOeval.accumulate`); detections with equal scores count in their order.

    Args:
        scores: of detections of one class in all images, (M,).
        outcomes: 1 for true positives, 0 for false positives, -1 for ignored ones, (M,).
        num_objects: number of objects.

    Raises:
        ValueError: there are no objects.
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
