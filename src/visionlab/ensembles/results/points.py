"""Calibration and diversity of models that predict landmarks."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from visionlab.ensembles.inputs import Floats
from visionlab.ensembles.measures.diversity import mean_over_pairs, squared_loss_ambiguity
from visionlab.ensembles.measures.point_calibration import (
    expected_normalised_calibration_error,
    member_variances,
    rank_correlation,
    sparsification,
    spread_table,
    variance_scale,
)
from visionlab.ensembles.prediction import Evaluated

NUM_BINS = 15


def is_of_points(found: Evaluated) -> bool:
    """Return whether a result is that of a model of landmarks."""
    return "errors_px" in found.samples


def point_calibration(
    found: Evaluated,
    on_val: Evaluated | None,
    *,
    members: Sequence[Evaluated],
    members_on_val: Sequence[Evaluated],
) -> dict[str, Any]:
    """Return how well the spread of members predicts the error of their ensemble, in pixels.

    `scaled_ence` is the error after scaling the variances by a factor that fits validation samples.

    Args:
        found: the ensemble.
        on_val: the same on validation samples; None without any.
        members: at least 2.
        members_on_val: likewise, on validation samples.
    """
    variances, errors = _known_spread(members, found)
    squares = {"variances": variances, "squared_errors": errors**2}
    table = spread_table(**squares, num_bins=NUM_BINS)
    measures = {
        "ence": expected_normalised_calibration_error(table),
        "variance_scale": variance_scale(**squares),
        "rank_correlation": rank_correlation(**squares),
        "ause": sparsification(variances=variances, errors=errors).area,
    }
    if on_val is not None:
        other_variances, others = _known_spread(members_on_val, on_val)
        scale = variance_scale(variances=other_variances, squared_errors=others**2)
        if np.isfinite(scale):
            scaled = spread_table(**squares | {"variances": scale * variances}, num_bins=NUM_BINS)
            measures["scaled_ence"] = expected_normalised_calibration_error(scaled)
    columns = {name: column.tolist() for name, column in asdict(table).items()}
    return {**measures, "error_against_spread": columns}


def point_diversity(members: Sequence[Evaluated]) -> dict[str, Any]:
    """Return the mean distance of points of two members, and what it gains the mean of all.

    `ambiguity_px2` is the mean squared error of the members minus that of their mean.
    """
    points = _points(members)
    distances = [
        [float(np.nanmean(np.linalg.norm(one - other, axis=-1))) for other in points]
        for one in points
    ]
    is_known = np.isfinite(points).all(axis=(0, -1)) & np.isfinite(_errors(members[0]))
    return {
        "distance_px": mean_over_pairs(np.array(distances)),
        "ambiguity_px2": squared_loss_ambiguity(points[:, is_known]),
        "pairs": {"distance_px": distances},
    }


def _points(members: Sequence[Evaluated]) -> Floats:
    """Return the points of members, (K, N, P, 2), in pixels."""
    stacked: list[Floats] = []
    for member in members:
        assert member.predictions is not None
        stacked.append(member.predictions.double().numpy())
    return np.stack(stacked)


def _errors(found: Evaluated) -> Floats:
    """Return the errors of points, (N, P), in pixels; nan for those that are unknown."""
    return found.samples["errors_px"].double().numpy()


def _known_spread(members: Sequence[Evaluated], found: Evaluated) -> tuple[Floats, Floats]:
    """Return variances of members and errors of the ensemble, of known points, flat."""
    variances, errors = member_variances(_points(members)), _errors(found)
    is_known = np.isfinite(errors) & np.isfinite(variances)
    return variances[is_known], errors[is_known]
