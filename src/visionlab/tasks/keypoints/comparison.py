"""Tables that compare the models of points of an ensemble."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from visionlab.files.model_tables import Rows, write_overlap, write_spread, write_values
from visionlab.task import Split

_ENSEMBLE = "ensemble"


def compare_points(
    folder: Path,
    members: Mapping[str, Mapping[str, Tensor]],
    ensemble: Mapping[str, Tensor],
    split: Split,
    *,
    class_names: Sequence[str],
) -> None:
    """Write tables of the mean error of each point, in pixels of the original images.

    - `overview_metrics.csv`: that error of each point and model, and its mean over points.
    - `compare_metrics/point_wise_errors_px.csv`: how it spreads over the members.
    - `overlap/overlap_matrix.csv`: mean distance of the points of two models in pixels.

    A point that is known in no image has empty cells, except for distances of models.

    Args:
        folder: the folder of the files.
        members: what `PointErrors.samples` returns, by member.
        ensemble: likewise; samples are in the same order in all of them.
        split: not needed.
        class_names: of the points.
    """
    counts = (~ensemble["errors_px"].isnan()).sum(dim=0).numpy()
    means = {"overall_mean": range(len(class_names))}
    rows = Rows(kind="point", names=class_names, counts=counts, means=means)
    errors = {
        name: samples["errors_px"].double().nanmean(dim=0).numpy()
        for name, samples in {**members, _ENSEMBLE: ensemble}.items()
    }
    points = [samples["points"].double().numpy() for samples in members.values()]
    write_overlap(
        folder / "overlap" / "overlap_matrix.csv", _distances(points), names=list(members)
    )
    write_values(folder / "overview_metrics.csv", errors, rows)
    of_ensemble = {_ENSEMBLE: errors.pop(_ENSEMBLE)}
    path = folder / "compare_metrics" / "point_wise_errors_px.csv"
    write_spread(path, list(errors.values()), of_ensemble, rows, decimals=None)


def _distances(points: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the mean distance of the points (N, K, 2) of two models, of all pairs (M, M)."""
    return np.array(
        [[np.linalg.norm(one - other, axis=-1).mean() for other in points] for one in points]
    )
