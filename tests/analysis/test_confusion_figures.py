"""Confusion matrices count what the files of the last epoch say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figure_inputs import inputs
from hypothesis import given
from hypothesis import strategies as st
from run_folders import CLASSES, write_grid, write_run

from visionlab.analysis.figures.confusion import confusion, draw_confusion, row_shares

Array = np.ndarray[Any, Any]


def naive(folders: list[Path], file_name: str) -> list[list[int]]:
    counts = [[0] * len(CLASSES) for _ in CLASSES]
    for folder in folders:
        with np.load(folder / "predictions" / file_name) as file:
            for label, predicted in zip(file["label"], file["predicted"], strict=True):
                counts[label][predicted] += 1
    return counts


def test_cells_are_shares_of_rows_over_all_seeds(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", seeds=(1, 2), decays=(0.9,), epochs=4)
    figures = draw_confusion(*inputs(grid))
    assert list(figures) == ["confusion", "confusion_average"]
    for figure, name, label in zip(
        figures.values(), ("model", "ema_0.9"), ("raw model", "EMA 0.9"), strict=True
    ):
        titles = [axis.get_title() for axis in figure.axes]
        assert titles == [f"constant, {label} (2 seeds)", f"cosine, {label} (2 seeds)"]
        for axis, scheduler in zip(figure.axes, ("constant", "cosine"), strict=True):
            counts = naive(sorted(grid.glob(f"scheduler={scheduler},*")), f"0004_{name}.npz")
            totals = [sum(row) for row in counts]
            expected = [[100 * n / sum(row) for n in row] for row in counts]
            assert np.asarray(axis.images[0].get_array()).tolist() == [
                pytest.approx(row) for row in expected
            ]
            assert [text.get_text() for text in axis.texts] == [
                f"{share:.0f}" for row in expected for share in row if share > 0
            ]
            assert [text.get_text() for text in axis.get_yticklabels()] == [
                f"{name} ({total // 2})" for name, total in zip(CLASSES, totals, strict=True)
            ]
            assert [text.get_text() for text in axis.get_xticklabels()] == CLASSES


def test_many_classes_have_colours_alone(tmp_path: Path) -> None:
    for number, count in enumerate((11, 40)):
        folder = write_run(tmp_path / str(number))
        about = json.loads((folder / "run.json").read_text())
        about["labels"] = [f"class {number}" for number in range(count)]
        (folder / "run.json").write_text(json.dumps(about))
        figure = draw_confusion(*inputs(folder))["confusion"]
        axis, bar = figure.axes
        assert not axis.texts
        assert bar.get_ylabel() == "share of the true class (%)"
        assert np.asarray(axis.images[0].get_array()).shape == (count, count)
        assert axis.get_xlabel().startswith("predicted class")
        is_named = "class 3" in [text.get_text() for text in axis.get_xticklabels()]
        assert is_named == (count == 11)


def test_runs_without_predictions_have_no_matrix(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    for path in (folder / "predictions").glob("*_model.npz"):
        path.unlink()
    assert list(draw_confusion(*inputs(folder))) == ["confusion_average"]


@given(pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4))))
def test_counts_are_those_of_a_loop(pairs: list[tuple[int, int]]) -> None:
    table = np.array(pairs, dtype=np.int16).reshape(-1, 2)
    counts = confusion(table[:, 0], table[:, 1], num_classes=5)
    assert counts.tolist() == [[pairs.count((row, col)) for col in range(5)] for row in range(5)]
    sums = row_shares(counts).sum(axis=1)
    for row, total in enumerate(counts.sum(axis=1)):
        assert np.isnan(sums[row]) if total == 0 else sums[row] == pytest.approx(100)
