"""Curves against a naive computation from the files."""

import json
from pathlib import Path

import numpy as np
import pytest
from figure_inputs import band, inputs, legend, lines, naive, points, titles
from run_folders import write_grid, write_run

from visionlab.analysis.figures.curves import draw_curves
from visionlab.analysis.figures.lines import LeftOut

LABELS = {"raw model": "model", "EMA 0.9": "ema_0.9", "EMA 0.99": "ema_0.99"}


@pytest.mark.parametrize("x", ["epoch", "step"])
def test_a_panel_is_a_schedule_and_a_line_an_average(x: str, tmp_path: Path) -> None:
    write_grid(tmp_path, epochs=4)
    figure = draw_curves(*inputs(tmp_path, x=x))["curves"]
    assert titles(figure.axes) == ["constant", "cosine"]
    for axis in figure.axes:
        assert list(lines(axis)) == list(LABELS)
        for number, (label, model) in enumerate(LABELS.items()):
            key = f"val/{model}/top1"
            found = naive(
                tmp_path, lambda row, key=key: row.get(key), x=x, scheduler=axis.get_title()
            )
            xs, means, stds = (np.array(each) for each in found)
            assert points(lines(axis)[label]) == (xs.tolist(), pytest.approx(means))
            low, high = band(axis, number)
            assert low == pytest.approx(np.maximum(means - stds, 0.0))
            assert high == pytest.approx(np.minimum(means + stds, 1.0))
        assert axis.get_xlabel() == x
    assert [axis.get_ylabel() for axis in figure.axes] == ["validation accuracy", ""]
    assert len({axis.get_ylim() for axis in figure.axes}) == 1
    assert legend(figure) == ("mean ± std, 3 seeds", list(LABELS))


def test_no_two_lines_look_alike_in_grey(tmp_path: Path) -> None:
    write_run(tmp_path / "run", decay=[0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999])
    (axis,) = draw_curves(*inputs(tmp_path))["curves"].axes
    drawn = lines(axis).values()
    assert len(drawn) == 10
    assert len({(line.get_marker(), str(line._dash_pattern)) for line in drawn}) == 10  # type: ignore[attr-defined]


def test_one_seed_has_no_band(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    figure = draw_curves(*inputs(tmp_path))["curves"]
    assert not figure.axes[0].collections
    assert legend(figure) == ("", ["raw model", "EMA 0.9"])


def test_epochs_are_whole_numbers_even_if_there_is_one(tmp_path: Path) -> None:
    write_run(tmp_path / "run", epochs=1)
    (axis,) = draw_curves(*inputs(tmp_path))["curves"].axes
    low, high = axis.get_xlim()
    assert [tick for tick in axis.get_xticks() if low <= tick <= high] == [1]


def test_a_hue_is_a_line_for_each_value_and_averages_are_panels(tmp_path: Path) -> None:
    write_grid(tmp_path)
    figure = draw_curves(*inputs(tmp_path, hue="scheduler", y="val/loss"))["curves"]
    assert titles(figure.axes) == list(LABELS)
    for axis in figure.axes:
        key = f"val/{LABELS[axis.get_title()]}/loss"
        assert list(lines(axis)) == ["constant", "cosine"]
        for label, line in lines(axis).items():
            _, means, _ = naive(tmp_path, lambda row, key=key: row.get(key), scheduler=label)
            assert points(line)[1] == pytest.approx(means)
    assert figure.axes[0].get_ylabel() == "validation loss"


@pytest.mark.parametrize("hue", [None, "averaged.decay", "optimizer.lr"])
def test_a_number_of_the_run_has_one_line_a_setting(hue: str | None, tmp_path: Path) -> None:
    for lr in (0.05, 0.1):
        write_grid(tmp_path / str(lr), schedulers=("cosine",))
        for folder in (tmp_path / str(lr)).glob("scheduler*"):
            text = (folder / "config.yaml").read_text().replace("lr: 0.1", f"lr: {lr}")
            (folder / "config.yaml").write_text(text)
            rows = (folder / "metrics.jsonl").read_text().replace(": 2.0,", f": {2 + lr},")
            (folder / "metrics.jsonl").write_text(rows)
    figure = draw_curves(*inputs(tmp_path, y="train/loss", hue=hue))["curves"]
    (axis,) = figure.axes
    assert list(lines(axis)) == ["learning rate 0.05", "learning rate 0.1"]
    for lr in (0.05, 0.1):
        _, means, _ = naive(tmp_path, lambda row: row["train/loss"], lr=lr)
        assert points(lines(axis)[f"learning rate {lr}"])[1] == pytest.approx(means)
    assert legend(figure) == ("learning rate", ["0.05", "0.1"])
    assert axis.get_ylabel() == "training loss"


def test_a_run_that_goes_on_is_drawn_as_far_as_it_is(tmp_path: Path) -> None:
    write_run(tmp_path / "one", seed=1, epochs=5)
    write_run(tmp_path / "two", seed=2, epochs=5, status="interrupted")
    figure = draw_curves(*inputs(tmp_path))["curves"]
    xs, ys = points(lines(figure.axes[0])["raw model"])
    expected = naive(tmp_path, lambda row: row["val/model/top1"])
    assert (xs, ys) == (expected[0], pytest.approx(expected[1]))
    assert xs == [1, 2, 3, 4, 5]
    assert legend(figure)[0] == "mean ± std, 1 to 2 seeds"


def test_repeats_of_a_seed_count_once(tmp_path: Path) -> None:
    for name, value in (("a", 0.2), ("b", 0.4), ("c", 0.9)):
        folder = write_run(tmp_path / name, seed=2 if name == "c" else 1, epochs=1)
        row = json.loads((folder / "metrics.jsonl").read_text())
        row["val/model/top1"] = value
        (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    (axis,) = draw_curves(*inputs(tmp_path))["curves"].axes
    assert points(lines(axis)["raw model"])[1] == pytest.approx([(0.3 + 0.9) / 2])


def test_the_first_epochs_of_long_curves_do_not_flatten_the_rest(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", epochs=40)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        for name in ("model", "ema_0.9"):
            row[f"val/{name}/top1"] = 0.1 if row["epoch"] <= 4 else 0.9 + row["epoch"] / 1000
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (axis,) = draw_curves(*inputs(tmp_path))["curves"].axes
    low, high = axis.get_ylim()
    assert 0.89 < low < 0.905 < 0.94 < high < 0.95


def test_many_panels_are_left_out_and_said(tmp_path: Path) -> None:
    for number in range(13):
        write_run(tmp_path / str(number), lr=0.1 + number / 100, num_samples=2)
    with pytest.raises(LeftOut, match=r"^curves is left out: 13 panels, at most 12"):
        draw_curves(*inputs(tmp_path))


def test_without_rows_there_is_nothing(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "metrics.jsonl").write_text("")
    assert draw_curves(*inputs(tmp_path)) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": "val/top2"}, "y must be a metric .*, got val/top2; did you mean val/top1"),
        ({"y": "test/top1"}, "y must be a metric of each epoch, .*, got test/top1$"),
        ({"hue": "schedular"}, "hue must be a setting of all runs, got schedular; did you mean"),
    ],
)
def test_what_no_run_has_is_one_line(changes: dict[str, str], message: str, tmp_path: Path) -> None:
    write_grid(tmp_path)
    with pytest.raises(ValueError, match=f"^{message}"):
        draw_curves(*inputs(tmp_path, **changes))
