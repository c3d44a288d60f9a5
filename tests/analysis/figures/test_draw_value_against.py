"""Final numbers against settings, against a naive computation from the files."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from figure_inputs import inputs, legend, lines, points, runs, titles
from matplotlib.axes import Axes
from run_folders import write_grid, write_run

from visionlab.analysis.figures.value_against import draw_value_against

LRS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5]


def naive(folder: Path, model: str, lr: float) -> tuple[float, float]:
    """Return mean and deviation over seeds of the accuracy on test."""
    found = [
        record["results"]["test"][model]["top1"]
        for config, record, _ in runs(folder)
        if config["optimizer"]["lr"] == lr
    ]
    return statistics.fmean(found), statistics.stdev(found)


def errors(axis: Axes, number: int) -> list[tuple[float, float]]:
    """Return the ends of each error bar."""
    bars = axis.containers[number].lines[2][0]  # type: ignore[attr-defined]
    return [(float(segment[0][1]), float(segment[1][1])) for segment in bars.get_segments()]


def test_a_line_is_a_model_over_the_setting(tmp_path: Path) -> None:
    for lr in LRS:
        for seed in (1, 2, 3):
            write_run(tmp_path / f"{lr} {seed}", lr=lr, seed=seed, num_samples=2)
    figures = draw_value_against(*inputs(tmp_path))
    assert list(figures) == ["value_against_optimizer.lr"]
    figure = figures["value_against_optimizer.lr"]
    (axis,) = figure.axes
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("learning rate", "test accuracy")
    assert axis.get_xscale() == "log"
    assert [text.get_text() for text in axis.get_xticklabels()] == [f"{lr:g}" for lr in LRS]
    assert legend(figure) == ("mean ± std, 3 seeds", ["raw model", "EMA 0.9"])
    for number, model in enumerate(("model", "ema_0.9")):
        expected = [naive(tmp_path, model, lr) for lr in LRS]
        xs, ys = points(axis.containers[number].lines[0])  # type: ignore[attr-defined]
        assert xs == LRS
        assert ys == pytest.approx([mean for mean, _ in expected])
        assert errors(axis, number) == [
            pytest.approx((max(mean - std, 0.0), min(mean + std, 1.0))) for mean, std in expected
        ]


def test_decays_are_categories_beside_no_average(tmp_path: Path) -> None:
    write_grid(tmp_path, decays=(0.9, 0.99, 0.9995))
    figures = draw_value_against(*inputs(tmp_path))
    (axis,) = figures["value_against_averaged.decay"].axes
    assert [text.get_text() for text in axis.get_xticklabels()] == ["none", "0.9", "0.99", "0.9995"]
    for number, scheduler in enumerate(("constant", "cosine")):
        xs, ys = points(axis.containers[number].lines[0])  # type: ignore[attr-defined]
        assert np.round(xs).tolist() == [0, 1, 2, 3]
        for y, model in zip(ys, ("model", "ema_0.9", "ema_0.99", "ema_0.9995"), strict=True):
            values = {
                config["global_seed"]: record["results"]["test"][model]["top1"]
                for config, record, _ in runs(tmp_path)
                if record["choices"]["scheduler"] == scheduler
                if model in record["results"]["test"]
            }
            assert y == pytest.approx(statistics.fmean(values.values()))


def test_a_hue_is_a_line_for_each_value(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        for scheduler in ("cosine", "constant"):
            write_run(tmp_path / f"{lr}{scheduler}", lr=lr, scheduler=scheduler)
    figure = draw_value_against(*inputs(tmp_path, hue="scheduler"))["value_against_optimizer.lr"]
    assert titles(figure.axes) == ["raw model", "EMA 0.9"]
    assert legend(figure) == ("", ["constant", "cosine"])
    assert figure.axes[0].get_xscale() == "linear"


def test_the_best_weights_have_their_own_numbers(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        write_run(tmp_path / f"{lr}", lr=lr)
    figure = draw_value_against(*inputs(tmp_path, weights="best", value="test/loss"))
    (axis,) = figure["value_against_optimizer.lr"].axes
    expected = [record["results"]["test"]["best"]["loss"] for _, record, _ in runs(tmp_path)]
    assert points(axis.get_lines()[0]) == ([0.1, 0.2], expected)
    assert axis.get_ylabel() == "test loss"


def test_a_random_search_is_points(tmp_path: Path) -> None:
    for number, lr in enumerate((0.1, 0.3, 0.2, 0.4)):
        hparams = {"hparams": {"epochs": 3, "batch_size": 128 - number}}
        write_run(tmp_path / str(number), lr=lr, changes=hparams)
    figures = draw_value_against(*inputs(tmp_path))
    assert sorted(figures) == ["value_against_hparams.batch_size", "value_against_optimizer.lr"]
    (axis,) = figures["value_against_optimizer.lr"].axes
    found = {config["optimizer"]["lr"]: record for config, record, _ in runs(tmp_path)}
    for label, model in (("raw model", "model"), ("EMA 0.9", "ema_0.9")):
        line = lines(axis)[label]
        assert line.get_linestyle() == "None"
        expected = [found[lr]["results"]["test"][model]["top1"] for lr in sorted(found)]
        assert points(line) == (sorted(found), expected)


def test_two_runs_that_differ_in_much_say_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "one", lr=0.1)
    write_run(tmp_path / "two", lr=0.2, changes={"hparams": {"epochs": 3, "batch_size": 64}})
    assert draw_value_against(*inputs(tmp_path)) == {}


def test_unfinished_runs_do_not_count(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        write_run(tmp_path / f"{lr}", lr=lr)
    write_run(tmp_path / "more", lr=0.4, status="pruned")
    (axis,) = draw_value_against(*inputs(tmp_path, value="val/top1"))[
        "value_against_optimizer.lr"
    ].axes
    assert points(axis.get_lines()[0])[0] == [0.1, 0.2]


def test_without_numbers_that_differ_there_is_nothing(tmp_path: Path) -> None:
    write_grid(tmp_path, decays=(0.9,))
    assert draw_value_against(*inputs(tmp_path)) == {}


def test_a_number_that_no_run_has_is_one_line(tmp_path: Path) -> None:
    write_grid(tmp_path)
    with pytest.raises(
        ValueError, match=r"^value must be .*, got test/top2; did you mean test/top1"
    ):
        draw_value_against(*inputs(tmp_path, value="test/top2"))


def test_a_run_that_lacks_the_number_is_left_out(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / f"{lr}", lr=lr) for lr in (0.1, 0.2, 0.3)]
    record = json.loads((folders[1] / "run.json").read_text())
    del record["results"]["test"]["model"]["top1"]
    (folders[1] / "run.json").write_text(json.dumps(record))
    (axis,) = draw_value_against(*inputs(tmp_path))["value_against_optimizer.lr"].axes
    assert points(axis.get_lines()[0])[0] == [0.1, 0.3]


@pytest.mark.parametrize(
    ("space", "scale"),
    [
        ('{"optimizer.lr": {"low": 0.01, "high": 1, "step": null, "log": true}}', "log"),
        ('{"optimizer.lr": {"low": 0.01, "high": 1, "step": null, "log": false}}', "linear"),
        ('{"optimizer.lr": ', "linear"),
        ("[1]", "linear"),
    ],
)
def test_a_rate_searched_on_a_log_scale_has_a_log_axis(
    space: str, scale: str, tmp_path: Path
) -> None:
    for number, lr in enumerate((0.03, 0.04, 0.1)):
        write_run(tmp_path / str(number), lr=lr, num_samples=1)
    (tmp_path / "space.json").write_text(space)
    figure = draw_value_against(*inputs(tmp_path))["value_against_optimizer.lr"]
    assert figure.axes[0].get_xscale() == scale
