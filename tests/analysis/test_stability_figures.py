"""What figures of stability show is what the files say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figure_inputs import inputs, legend_texts
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch
from run_folders import write_grid, write_run

from visionlab.analysis.figures.histograms import (
    MAX_BINS,
    bin_edges,
    draw_misclassification,
    draw_mismatch,
)
from visionlab.analysis.figures.lines import LeftOut, line_over_seeds
from visionlab.analysis.figures.stability import draw_stability

Array = np.ndarray[Any, Any]
EPOCHS = 12


def correct(folder: Path, name: str, epochs: range) -> Array:
    """Return (E, S) from the files, with nothing of ours; samples are written in one order."""
    rows = []
    for epoch in epochs:
        with np.load(folder / "predictions" / f"{epoch:04d}_{name}.npz") as file:
            rows.append(file["label"] == file["predicted"])
    return np.array(rows)


def folders(grid: Path, scheduler: str, decay: float) -> list[Path]:
    found = sorted(grid.glob(f"scheduler={scheduler},averaged.decay={decay},*"))
    assert len(found) == 2
    return found


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    return write_grid(tmp_path / "grid", seeds=(1, 2), epochs=EPOCHS)


def test_stability_and_accuracy_are_those_of_the_files(grid: Path) -> None:
    (figure,) = draw_stability(*inputs(grid)).values()
    assert [axis.get_title() for axis in figure.axes] == ["constant", "cosine"]
    assert [axis.get_xlabel() for axis in figure.axes] == ["epoch", "epoch"]
    label = figure.axes[0].get_ylabel()
    assert label == "share of validation samples\n(mean ± std, 2 seeds)"
    models = ["raw model", "EMA 0.9", "EMA 0.99"]
    assert legend_texts(figure) == [*models, "stability", "accuracy"]
    for axis in figure.axes:
        assert len(axis.lines) == 2 * len(models)
        runs = [("model", 0.9), ("ema_0.9", 0.9), ("ema_0.99", 0.99)]
        for number, (name, decay) in enumerate(runs):
            tables = [
                correct(folder, name, range(1, EPOCHS + 1))
                for folder in folders(grid, axis.get_title(), decay)
            ]
            stability, accuracy = axis.lines[2 * number], axis.lines[2 * number + 1]
            assert (stability.get_linestyle(), accuracy.get_linestyle()) == ("-", "--")
            assert stability.get_color() == accuracy.get_color()
            assert list(stability.get_xdata()) == list(range(2, EPOCHS + 1))
            assert list(accuracy.get_xdata()) == list(range(1, EPOCHS + 1))
            same = [(table[1:] == table[:-1]).mean(axis=1) for table in tables]
            assert stability.get_ydata() == pytest.approx(np.mean(same, axis=0))
            shares = [table.mean(axis=1) for table in tables]
            assert accuracy.get_ydata() == pytest.approx(np.mean(shares, axis=0))
            (band,) = axis.collections[2 * number].get_paths()
            ends = np.mean(same, axis=0) + np.std(same, axis=0, ddof=1)
            assert band.vertices[:, 1].max() == pytest.approx(min(ends.max(), 1.0))


def test_all_panels_have_the_limits_that_all_later_epochs_need(grid: Path) -> None:
    (figure,) = draw_stability(*inputs(grid)).values()
    limits = {(axis.get_xlim(), axis.get_ylim()) for axis in figure.axes}
    assert len(limits) == 1
    low, high = figure.axes[0].get_ylim()
    later = [value for axis in figure.axes for line in axis.lines for value in line.get_ydata()[2:]]
    assert low < min(later)
    assert high > 1.0


def test_of_one_seed_there_is_no_band_and_epochs_and_window_count(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", epochs=8)
    request = inputs(folder, epochs=(3, 7), window=3)
    (figure,) = draw_stability(*request).values()
    (axis,) = figure.axes
    assert axis.get_title() == ""
    assert axis.get_ylabel() == "share of validation samples"
    assert not axis.collections
    table = correct(folder, "model", range(3, 8))
    same = (table[1:] == table[:-1]).mean(axis=1)
    expected = [same[:2].mean(), same[:3].mean(), same[1:4].mean(), same[2:].mean()]
    assert list(axis.lines[0].get_xdata()) == [4, 5, 6, 7]
    assert axis.lines[0].get_ydata() == pytest.approx(expected)


def test_the_mean_is_over_the_seeds_that_got_there() -> None:
    curve = line_over_seeds([(1, 7, 0.5), (2, 7, 0.75), (1, 8, 0.25)], largest=1.0)
    assert curve is not None
    assert curve.x.tolist() == [1, 2]
    assert curve.num_seeds.tolist() == [2, 1]
    assert curve.mean.tolist() == [0.375, 0.75]
    assert curve.std.tolist() == [pytest.approx(np.std([0.5, 0.25], ddof=1)), 0.0]


def bars(axis: Axes) -> dict[str, StepPatch]:
    return {str(p.get_label()): p for p in axis.patches if isinstance(p, StepPatch)}


def per_cent(tables: list[Array], edges: Array) -> Array:
    counts, _ = np.histogram(np.concatenate(tables), edges)
    return 100 * counts / sum(map(len, tables))


def test_misclassification_counts_samples_of_all_seeds(grid: Path) -> None:
    figures = draw_misclassification(*inputs(grid))
    assert list(figures) == ["misclassification_constant", "misclassification_cosine"]
    figure = figures["misclassification_cosine"]
    assert [axis.get_title() for axis in figure.axes] == ["cosine, EMA 0.9", "cosine, EMA 0.99"]
    assert figure.axes[0].get_xlabel() == "share of epochs misclassified"
    assert figure.axes[0].get_ylabel() == "validation samples (%)\n(2 seeds together)"
    assert legend_texts(figure) == ["raw model", "EMA 0.9", "EMA 0.99"]
    for axis, decay in zip(figure.axes, (0.9, 0.99), strict=True):
        found = bars(axis)
        assert list(found) == ["raw model", f"EMA {decay:g}"]
        for label, name in (("raw model", "model"), (f"EMA {decay:g}", f"ema_{decay:g}")):
            shares = [
                1 - correct(folder, name, range(1, EPOCHS + 1)).mean(axis=0)
                for folder in folders(grid, "cosine", decay)
            ]
            values, edges, _ = found[label].get_data()
            assert values == pytest.approx(per_cent(shares, edges))
            assert values.sum() == pytest.approx(100)
            assert len(values) == EPOCHS + 1


def test_mismatch_compares_an_average_with_the_model_of_its_own_run(grid: Path) -> None:
    figure = draw_mismatch(*inputs(grid, epochs=(2, 11)))["mismatch_constant"]
    assert legend_texts(figure) == ["EMA 0.9", "EMA 0.99"]
    for axis, decay in zip(figure.axes, (0.9, 0.99), strict=True):
        assert axis.get_title() == f"constant, EMA {decay:g}"
        ((label, found),) = bars(axis).items()
        assert label == f"EMA {decay:g}"
        assert not found.fill
        shares = [
            (
                correct(folder, f"ema_{decay:g}", range(2, 12))
                != correct(folder, "model", range(2, 12))
            ).mean(axis=0)
            for folder in folders(grid, "constant", decay)
        ]
        values, edges, _ = found.get_data()
        assert values == pytest.approx(per_cent(shares, edges))
        assert len(values) == 11


def test_with_one_average_the_settings_share_a_figure(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", decays=(0.9,), seeds=(1,), epochs=EPOCHS)
    for draw, name in ((draw_misclassification, "misclassification"), (draw_mismatch, "mismatch")):
        figures = draw(*inputs(grid))
        assert list(figures) == [name]
        titles = [axis.get_title() for axis in figures[name].axes]
        assert titles == ["constant", "cosine"]
        assert "EMA 0.9" in legend_texts(figures[name])
        assert figures[name].axes[0].get_ylabel() == "validation samples (%)"


def test_seeds_that_are_behind_do_not_count(tmp_path: Path) -> None:
    ahead = write_run(tmp_path / "a", seed=1, epochs=EPOCHS)
    write_run(tmp_path / "b", seed=2, epochs=EPOCHS, status="running")
    (figure,) = draw_misclassification(*inputs(tmp_path)).values()
    values, edges, _ = bars(figure.axes[0])["raw model"].get_data()
    shares = 1 - correct(ahead, "model", range(1, EPOCHS + 1)).mean(axis=0)
    assert values == pytest.approx(per_cent([shares], edges))
    assert figure.axes[0].get_ylabel() == "validation samples (%)"


@pytest.mark.parametrize("num_epochs", [1, 2, 49, 50, 91, 180, 1000])
def test_every_bin_holds_equally_many_shares(num_epochs: int) -> None:
    edges = bin_edges(num_epochs)
    counts, _ = np.histogram(np.arange(num_epochs + 1) / num_epochs, edges)
    assert len(counts) <= MAX_BINS
    assert counts.sum() == num_epochs + 1
    assert len(set(counts[:-1].tolist())) <= 1
    assert 1 <= counts[-1] <= counts[0]


@pytest.mark.parametrize("draw", [draw_stability, draw_misclassification, draw_mismatch])
def test_without_predictions_nothing_is_drawn(draw: Any, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    for path in (folder / "predictions").iterdir():
        path.unlink()
    assert draw(*inputs(folder)) == {}


def test_without_averages_there_is_no_mismatch(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", decay=[], epochs=EPOCHS)
    assert draw_mismatch(*inputs(folder)) == {}
    (figure,) = draw_misclassification(*inputs(folder)).values()
    assert list(bars(figure.axes[0])) == ["raw model"]
    assert legend_texts(figure) == ["raw model"]


def test_after_a_single_epoch_there_is_no_stability(tmp_path: Path) -> None:
    assert draw_stability(*inputs(write_run(tmp_path / "run", epochs=1))) == {}


def test_of_few_epochs_no_histogram_of_a_few_bins_is_drawn(tmp_path: Path) -> None:
    write_grid(tmp_path / "short", epochs=9, seeds=(1,))
    for draw in (draw_misclassification, draw_mismatch):
        name = draw.__name__.removeprefix("draw_")
        with pytest.raises(LeftOut, match=f"^{name} is left out: 9 epochs, at least 10$"):
            draw(*inputs(tmp_path / "short"))
    assert draw_misclassification(*inputs(write_run(tmp_path / "long", epochs=10)))
