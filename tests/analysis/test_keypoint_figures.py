"""Errors of keypoints and PCK curves, against a naive computation from the files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figure_inputs import inputs, legend_texts
from run_folders import write_run

from visionlab.analysis.figures.keypoints import draw_keypoint_errors, draw_pck, shares_below

Array = np.ndarray[Any, Any]
THRESHOLDS = [0.05, 0.2]
POINTS, IMAGES = 5, 30


def arrays(seed: int) -> dict[str, Array]:
    """Return errors; point 3 is never known, nor is the normaliser of image 7."""
    draw = np.random.default_rng(seed)
    errors = draw.gamma(2.0, 2.0, (IMAGES, POINTS)).astype(np.float32)
    errors[draw.random(errors.shape) < 0.1] = np.nan
    errors[:, 3] = np.nan
    normalisers = draw.uniform(20, 60, IMAGES).astype(np.float32)
    normalisers[7] = np.nan
    return {"keys": np.arange(IMAGES), "errors_px": errors, "normaliser_px": normalisers}


def write_regressor(
    folder: Path, *, seed: int = 1, eyes: Any = None, names: list[str] | None = None
) -> Path:
    metric = {"eyes": eyes, "pck_thresholds": THRESHOLDS}
    task = {"name": "keypoints", "monitor": "nme", "mode": "min", "metric": metric}
    write_run(folder, seed=seed, changes={"task": task})
    about = json.loads((folder / "run.json").read_text())
    names = names or [str(number) for number in range(POINTS)]
    (folder / "run.json").write_text(json.dumps({**about, "labels": names}))
    for number, path in enumerate(sorted((folder / "predictions").iterdir())):
        np.savez(path, **arrays(100 * seed + number))
    return folder


def relative(folder: Path, model: str) -> Array:
    with np.load(folder / "predictions" / f"0003_{model}.npz") as file:
        errors: Array = file["errors_px"] / file["normaliser_px"][:, None]
    return errors


def test_errors_are_median_and_quartiles_of_all_images(tmp_path: Path) -> None:
    folders = [write_regressor(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    (figure,) = draw_keypoint_errors(*inputs(tmp_path)).values()
    (axis,) = figure.axes
    assert axis.get_ylabel() == "error (% of box diagonal)\nmedian and quartiles"
    assert axis.get_xlabel() == "keypoint (index)"
    assert legend_texts(figure) == ["raw model", "EMA 0.9"]
    for number, model in enumerate(("model", "ema_0.9")):
        errors = 100 * np.concatenate([relative(folder, model) for folder in folders])
        medians = axis.lines[number].get_ydata()
        assert list(axis.lines[number].get_xdata()) == list(range(POINTS))
        (band, *others) = axis.collections[number].get_paths()
        for point in range(POINTS):
            known = errors[~np.isnan(errors[:, point]), point]
            if point == 3:
                assert np.isnan(medians[point])
                assert not len(known)
                continue
            assert medians[point] == pytest.approx(np.median(known), rel=1e-5)
            heights = [y for path in (band, *others) for x, y in path.vertices if x == point]
            ends = np.percentile(known, [25, 75])
            assert [min(heights), max(heights)] == pytest.approx(ends, rel=1e-5)


def test_pck_is_the_share_of_points_below_each_distance(tmp_path: Path) -> None:
    folders = [write_regressor(tmp_path / str(seed), seed=seed, eyes=[[0], [1]]) for seed in (1, 2)]
    (figure,) = draw_pck(*inputs(tmp_path)).values()
    (axis,) = figure.axes
    assert axis.get_xlabel() == "t / eye distance"
    assert axis.get_ylabel() == "share of keypoints with error < t\n(mean ± std, 2 seeds)"
    assert axis.get_xlim() == (0, THRESHOLDS[-1])
    for number, model in enumerate(("model", "ema_0.9")):
        line = axis.lines[number]
        for t, share in list(zip(line.get_xdata(), line.get_ydata(), strict=True))[::20]:
            shares = []
            for folder in folders:
                errors = relative(folder, model)
                known = errors[~np.isnan(errors)]
                shares.append((known < t).mean())
            assert share == pytest.approx(np.mean(shares))


def test_pck_at_the_thresholds_is_the_number_of_the_metric() -> None:
    errors = np.array([[0.05, np.nan], [0.0, 0.2], [0.1, 0.04]])
    assert shares_below(errors, np.array([0.05, 0.2])).tolist() == [0.4, 0.8]


def test_of_one_seed_there_is_no_band(tmp_path: Path) -> None:
    (figure,) = draw_pck(*inputs(write_regressor(tmp_path / "run"))).values()
    assert not figure.axes[0].collections
    assert figure.axes[0].get_ylabel() == "share of keypoints with error < t"
    assert figure.axes[0].get_xlabel() == "t / box diagonal"


def test_points_with_names_are_named(tmp_path: Path) -> None:
    names = ["left eye", "right eye", "nose", "left ear", "right ear"]
    (figure,) = draw_keypoint_errors(
        *inputs(write_regressor(tmp_path / "run", names=names))
    ).values()
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.get_xticklabels()] == names
    assert axis.get_xlabel() == "keypoint"


def test_runs_of_other_tasks_have_none(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    assert draw_keypoint_errors(*inputs(folder)) == draw_pck(*inputs(folder)) == {}
