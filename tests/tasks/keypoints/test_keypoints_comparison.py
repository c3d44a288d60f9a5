import csv
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from visionlab.tasks.keypoints.comparison import compare_points
from visionlab.tasks.keypoints.metric import PointErrors
from visionlab.tasks.keypoints.records import PointTargets

NAN = math.nan
POINTS = ["nose", "chin", "ear"]
TRUTH = torch.tensor([[[5.0, 5.0], [9.0, 9.0], [NAN, NAN]], [[5.0, 5.0], [NAN, NAN], [NAN, NAN]]])


def samples_of(*shift_px: tuple[float, float]) -> dict[str, Tensor]:
    """Return results of predictions with a shift to the right in each of two images."""
    metric = PointErrors(class_names=POINTS, eyes=None, pck_thresholds=[0.1])
    shifts = torch.tensor(shift_px).view(-1, 1, 2)
    points = TRUTH.nan_to_num(nan=1.0) + shifts
    known = TRUTH.isfinite().all(dim=2)
    metric.update(points, PointTargets(TRUTH.nan_to_num(), known, TRUTH, None))
    return metric.samples()


def read(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def test_tables_checked_by_eye(tmp_path: Path) -> None:
    members = {"one": samples_of((3, 4), (0, 1)), "two": samples_of((0, 0), (0, 2))}
    split: Any = SimpleNamespace()
    ensemble = samples_of((1, 0), (0, 0))
    compare_points(tmp_path, members, ensemble, split, class_names=POINTS)
    assert read(tmp_path / "overview_metrics.csv") == [
        ["point", "one", "two", "ensemble"],
        ["nose", "3.0", "1.0", "0.5"],
        ["chin", "5.0", "0.0", "1.0"],
        ["ear", "", "", ""],
        ["overall_mean", "4.0", "0.5", "0.75"],
    ]
    assert read(tmp_path / "compare_metrics" / "point_wise_errors_px.csv") == [
        ["point", "mean", "0.25", "0.75", "min", "max", "nr_occur", "ensemble"],
        ["nose", "2.0", "2.0", "2.0", "1.0", "3.0", "2", "0.5"],
        ["chin", "2.5", "2.5", "2.5", "0.0", "5.0", "1", "1.0"],
        ["ear", "", "", "", "", "", "0", ""],
    ]
    header, *rows = read(tmp_path / "overlap" / "overlap_matrix.csv")
    assert header == ["model", "one", "two"]
    assert [row[0] for row in rows] == ["one", "two"]
    values = [float(cell) for row in rows for cell in row[1:]]
    assert values == pytest.approx([0.0, 3.0, 3.0, 0.0])  # over all points, whether known or not
