"""Detections matched with objects, drawn at random or with numbers checked by hand."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from visionlab.ensembles.measures.box_calibration import MatchedDetections

NUM_CLASSES = 3
SCORES = np.array([0.9, 0.8, 0.75, 0.6, 0.55, 0.3, 0.2])
IOUS = np.array([0.9, 0.8, 0, 0.7, 0, 0.55, 0])


def by_hand(**changes: Any) -> MatchedDetections:
    """Return the seven detections of the specification, of one class with five objects."""
    arguments: dict[str, Any] = {
        "scores": SCORES,
        "labels": np.zeros(7, dtype=int),
        "ious": IOUS,
        "is_ignored": np.zeros(7, dtype=bool),
        "num_objects": np.array([5]),
        "iou_threshold": 0.5,
    }
    return MatchedDetections(**arguments | changes)


@st.composite
def matched_detections(draw: st.DrawFn) -> MatchedDetections:
    """Draw up to 30 detections of three classes, some ignored, some of equal scores."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, threshold = draw(st.integers(0, 30)), draw(st.sampled_from([0.0, 0.5, 0.75]))
    labels = generator.integers(0, NUM_CLASSES, count)
    ious = generator.uniform(max(threshold, 0.01), 1.0, count) * generator.integers(0, 2, count)
    is_ignored = generator.random(count) < 0.2
    num_matches = np.bincount(labels[(ious > 0) & ~is_ignored], minlength=NUM_CLASSES)
    return MatchedDetections(
        scores=generator.integers(0, 21, count) / 20,
        labels=labels,
        ious=ious,
        is_ignored=is_ignored,
        num_objects=num_matches + generator.integers(0, 3, NUM_CLASSES),
        iou_threshold=threshold,
    )
