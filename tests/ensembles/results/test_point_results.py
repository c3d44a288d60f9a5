"""Calibration and diversity of models of landmarks, from per-sample results."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from visionlab.ensembles.prediction import Evaluated
from visionlab.ensembles.results.points import NUM_BINS, point_calibration, point_diversity

NUM_IMAGES, NUM_POINTS = 40, 3
TRUTH = torch.rand(NUM_IMAGES, NUM_POINTS, 2, generator=torch.Generator().manual_seed(0)) * 50
TRUTH[0, 0] = math.nan


def evaluated(points: Tensor) -> Evaluated:
    errors = torch.linalg.vector_norm(points - TRUTH, dim=2)
    return Evaluated(metrics={}, samples={"errors_px": errors}, predictions=points)


def members(count: int, *, seed: int = 1) -> list[Evaluated]:
    """Return models that differ from the truth by noise that grows from image to image."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.5, 4.0, NUM_IMAGES)[:, None, None]
    return [
        evaluated(TRUTH.nan_to_num() + scale * torch.randn(TRUTH.shape, generator=generator))
        for _ in range(count)
    ]


def mean_of(found: list[Evaluated]) -> Evaluated:
    return evaluated(torch.stack([each.predictions for each in found]).mean(dim=0))  # type: ignore[misc]


def test_the_table_has_spread_and_error_of_all_known_points() -> None:
    found = members(5)
    measures = point_calibration(mean_of(found), None, members=found, members_on_val=[])
    table = {name: np.array(column) for name, column in measures["error_against_spread"].items()}
    assert len(table["counts"]) == NUM_BINS
    assert table["counts"].sum() == NUM_IMAGES * NUM_POINTS - 1
    assert (np.diff(table["spread"]) > 0).all()
    assert table["error"][-5:].mean() > table["error"][:5].mean()
    ence = np.mean(np.abs(table["spread"] - table["error"]) / table["spread"])
    assert measures["ence"] == pytest.approx(ence)
    assert "scaled_ence" not in measures


def test_a_scale_of_validation_samples_helps() -> None:
    found, on_val = members(5), members(5, seed=2)  # the mean errs less than its members differ
    measures = point_calibration(
        mean_of(found), mean_of(on_val), members=found, members_on_val=on_val
    )
    expected = (1 / 5) * 8 / (8 - 2)  # a variance of 5 members in a plane is a chi-square of 8
    assert measures["variance_scale"] == pytest.approx(expected, abs=0.06)
    assert measures["scaled_ence"] < measures["ence"]


def test_the_ambiguity_is_what_the_mean_gains() -> None:
    found = members(4)
    squares = [each.samples["errors_px"].double().square().nanmean() for each in found]
    of_mean = mean_of(found).samples["errors_px"].double().square().nanmean()
    gain = float(torch.stack(squares).mean() - of_mean)
    assert point_diversity(found)["ambiguity_px2"] == pytest.approx(gain, rel=1e-4)
