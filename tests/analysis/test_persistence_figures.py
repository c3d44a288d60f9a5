"""Bar codes show when the least stable samples were wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figure_inputs import inputs, legend_texts
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from run_folders import CLASSES, write_grid, write_run

from visionlab.analysis.figures.lines import LeftOut
from visionlab.analysis.figures.persistence import draw_persistence, spans

Array = np.ndarray[Any, Any]


def table(folder: Path, name: str, epochs: Sequence[int]) -> Array:
    rows = []
    for epoch in epochs:
        with np.load(folder / "predictions" / f"{epoch:04d}_{name}.npz") as file:
            rows.append(file["label"] == file["predicted"])
    return np.array(rows)


def drawn_wrong(axis: Axes, colour: str, epochs: Sequence[int], num_samples: int) -> Array:
    """Return (E, S): whether a bar of a colour covers an epoch in the row of a sample."""
    wrong = np.zeros((len(epochs), num_samples), dtype=bool)
    for bars in axis.collections:
        if not np.allclose(bars.get_facecolor()[0], to_rgba(colour)):
            continue
        for path in bars.get_paths():
            (left, top), (right, bottom) = path.vertices.min(axis=0), path.vertices.max(axis=0)
            sample = int((top + bottom) / 2)
            assert sample <= top < bottom <= sample + 1
            wrong[[left < epoch < right for epoch in epochs], sample] = True
    return wrong


def least_stable(correct: Array, count: int) -> list[int]:
    changes = (correct[1:] != correct[:-1]).sum(axis=0)
    return sorted(range(correct.shape[1]), key=lambda column: (-changes[column], column))[:count]


@pytest.mark.parametrize("epochs", [None, (3, 7)])
def test_bars_are_where_the_least_stable_samples_are_wrong(
    epochs: tuple[int, int] | None, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", decay=[0.9, 0.99], epochs=9, seed=7)
    (figure,) = draw_persistence(*inputs(folder, epochs=epochs, num_samples=6)).values()
    (axis,) = figure.axes
    shown = range(1, 10) if epochs is None else range(3, 8)
    correct = table(folder, "model", shown)
    columns = least_stable(correct, 6)
    assert drawn_wrong(axis, "#000000", shown, 6).tolist() == (~correct[:, columns]).tolist()
    average = table(folder, "ema_0.99", shown)  # the largest decay
    assert drawn_wrong(axis, "#D55E00", shown, 6).tolist() == (~average[:, columns]).tolist()
    assert legend_texts(figure) == ["raw model: wrong", "EMA 0.99: wrong", "right"]
    assert axis.get_xlabel() == "epoch (seed 7)"
    with np.load(folder / "predictions" / "0001_model.npz") as file:
        names = [f"{CLASSES[file['label'][column]]} {column}" for column in columns]
    assert [text.get_text() for text in axis.get_yticklabels()] == names
    assert axis.get_ylim() == (6, 0)
    assert axis.get_xlim() == (shown[0] - 0.5, shown[-1] + 0.5)


def test_epochs_without_validation_belong_to_the_nearest(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", epochs=15)
    for epoch in sorted({*range(1, 16)} - {3, 6, 9, 12, 15}):
        for name in ("model", "ema_0.9"):
            (folder / "predictions" / f"{epoch:04d}_{name}.npz").unlink()
    (figure,) = draw_persistence(*inputs(folder, num_samples=4)).values()
    (axis,) = figure.axes
    assert axis.get_xlim() == (1.5, 16.5)
    correct = table(folder, "model", (3, 6, 9, 12, 15))
    columns = least_stable(correct, 4)
    assert (
        drawn_wrong(axis, "#000000", (3, 6, 9, 12, 15), 4).tolist()
        == (~correct[:, columns]).tolist()
    )


@pytest.mark.parametrize("sort", ["misclassification", "mismatch"])
def test_samples_are_sorted_as_asked(sort: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", epochs=8)
    correct, average = table(folder, "model", range(1, 9)), table(folder, "ema_0.9", range(1, 9))
    bad = ~correct if sort == "misclassification" else correct != average
    counts = bad.sum(axis=0)
    columns = sorted(range(len(counts)), key=lambda column: (-counts[column], column))[:5]
    (figure,) = draw_persistence(*inputs(folder, sort=sort, num_samples=5)).values()
    keys = [int(text.get_text().split()[-1]) for text in figure.axes[0].get_yticklabels()]
    assert keys == columns


def test_each_setting_has_a_figure_of_its_first_seed(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", seeds=(5, 2), epochs=5)
    figures = draw_persistence(*inputs(grid))
    assert list(figures) == ["persistence_constant", "persistence_cosine"]
    for figure in figures.values():
        assert figure.axes[0].get_xlabel() == "epoch (seed 2)"
        assert "EMA 0.99: wrong" in legend_texts(figure)


def test_pictures_stand_beside_their_samples(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", epochs=6)
    asked_for = []

    def load_images(run: Path, keys: Sequence[int]) -> list[Array]:
        asked_for.append((run, list(keys)))
        return [np.full((4, 5, 3), key, dtype=np.uint8) for key in keys]

    request = inputs(folder, num_samples=3)
    (figure,) = draw_persistence(*request, load_images).values()
    bars, *beside = figure.axes
    keys = [int(text.get_text().split()[-1]) for text in bars.get_yticklabels()]
    assert asked_for == [(folder, keys)]
    assert [int(axis.images[0].get_array()[0, 0, 0]) for axis in beside] == keys
    figure.canvas.draw()
    middles = [axis.get_position().y0 + axis.get_position().height / 2 for axis in beside]
    rows = bars.transData.transform([(1, row + 0.5) for row in range(3)])[:, 1]
    height = rows[0] - rows[1]
    for middle, row in zip(middles, rows, strict=True):
        assert middle * figure.bbox.height == pytest.approx(row, abs=0.25 * height)


def test_without_averages_there_is_one_row_a_sample(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", decay=[], epochs=5)
    (figure,) = draw_persistence(*inputs(folder)).values()
    assert legend_texts(figure) == ["raw model: wrong", "right"]


def test_after_a_few_epochs_nothing_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(LeftOut, match=r"^persistence is left out: 4 epochs, at least 5$"):
        draw_persistence(*inputs(write_run(tmp_path / "short", epochs=4)))
    assert draw_persistence(*inputs(write_run(tmp_path / "run", epochs=1))) == {}


def test_spans_join_what_hangs_together() -> None:
    edges = np.array([0.5, 1.5, 2.5, 3.5, 4.5])
    found = spans(edges, np.array([True, True, False, True]))
    assert found == [(0.5, 2.0), (3.5, 1.0)]
    assert spans(edges, np.zeros(4, dtype=bool)) == []
