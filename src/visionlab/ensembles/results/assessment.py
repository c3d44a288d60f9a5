"""Calibration and diversity of models, from their predictions and the metric's per-sample results.

What can be measured follows from those results: `label` and `correct` are those of classifiers,
`outcomes` and `ious` of detectors, `errors_px` of landmarks. Other results have no calibration.
"""

from collections.abc import Sequence
from typing import Any

from visionlab.ensembles.prediction import Evaluated
from visionlab.ensembles.results.boxes import box_calibration, is_of_boxes
from visionlab.ensembles.results.classes import class_calibration, class_diversity, is_of_classes
from visionlab.ensembles.results.points import is_of_points, point_calibration, point_diversity


def calibration(
    found: Evaluated,
    on_val: Evaluated | None,
    *,
    members: Sequence[Evaluated],
    members_on_val: Sequence[Evaluated],
) -> dict[str, Any]:
    """Return the calibration of a model or ensemble; empty if it has none.

    Args:
        found: what is measured.
        on_val: the same on validation samples, to which temperature, score thresholds and IoUs, or
            the scale of the variance are fitted; None without any.
        members: of an ensemble of landmarks, whose spread is compared with its errors; fewer than 2
            for a single model.
        members_on_val: likewise, on validation samples.

    Raises:
        ValueError: predictions are not finite.
    """
    if is_of_classes(found):
        return class_calibration(found, on_val)
    if is_of_boxes(found):
        return box_calibration(found, on_val)
    if is_of_points(found) and len(members) > 1:
        return point_calibration(found, on_val, members=members, members_on_val=members_on_val)
    return {}


def diversity(members: Sequence[Evaluated]) -> dict[str, Any]:
    """Return how members differ: means over pairs, and `pairs`, matrices in their order.

    Empty for detectors, whose overlap `task.compare` writes.

    Raises:
        ValueError: predictions are not finite.
    """
    if is_of_classes(members[0]):
        return class_diversity(members)
    if is_of_points(members[0]):
        return point_diversity(members)
    return {}
