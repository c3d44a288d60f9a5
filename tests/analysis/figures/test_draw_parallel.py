"""Parallel coordinates against what the files say."""

import itertools
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from figure_inputs import inputs, legend, points, runs
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from run_folders import write_grid, write_run

from visionlab.analysis.figures.lines import LeftOut
from visionlab.analysis.figures.parallel import draw_parallel


def trials(figure: Figure) -> list[Line2D]:
    """Return the lines of runs; those of axes are upright."""
    return [line for line in figure.axes[0].get_lines() if len(set(points(line)[0])) > 1]


def grey(line: Line2D) -> float:
    return float(np.dot(to_rgb(line.get_color()), (0.299, 0.587, 0.114)))


def test_a_line_goes_through_the_settings_to_the_value(tmp_path: Path) -> None:
    write_grid(tmp_path)
    figure = draw_parallel(*inputs(tmp_path))["parallel"]
    names = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert names == ["scheduler", "EMA decay"]
    means: dict[tuple[float, float], float] = {}
    for row, scheduler in enumerate(("constant", "cosine")):
        for column, model in enumerate(("model", "ema_0.9", "ema_0.99")):
            values = {
                config["global_seed"]: record["results"]["test"][model]["top1"]
                for config, record, _ in runs(tmp_path)
                if record["choices"]["scheduler"] == scheduler
                if model in record["results"]["test"]
            }
            means[row, column / 2] = statistics.fmean(values.values())
    low, high = min(means.values()), max(means.values())
    found = {tuple(points(line)[1][:2]): points(line)[1][2] for line in trials(figure)}
    assert found == {key: pytest.approx((mean - low) / (high - low)) for key, mean in means.items()}
    (bar,) = figure.axes[0].child_axes
    assert bar.get_ylabel() == "test accuracy"
    assert bar.get_ylim() == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("value", "mode", "is_better_high"),
    [("test/top1", "max", True), ("test/loss", "max", False), ("test/top1", "min", False)],
)
def test_better_is_darker_in_grey(
    value: str, mode: str, is_better_high: bool, tmp_path: Path
) -> None:
    write_grid(tmp_path)
    for path in tmp_path.rglob("config.yaml"):
        path.write_text(path.read_text().replace("mode: max", f"mode: {mode}"))
    drawn = trials(draw_parallel(*inputs(tmp_path, value=value))["parallel"])
    heights = [points(line)[1][-1] for line in drawn]
    assert heights == sorted(heights, reverse=not is_better_high)  # the best on top
    greys = [grey(line) for line in drawn]
    assert greys == sorted(greys, reverse=True)
    assert max(greys) < 0.8


def test_pruned_runs_are_dashed_and_compared_on_validation(tmp_path: Path) -> None:
    statuses = ["finished", "finished", "pruned", "pruned"]
    for number, status in enumerate(statuses):
        lr = [0.001, 0.01, 0.1, 1.0][number]
        write_run(tmp_path / str(number), lr=lr, status=status)
    figure = draw_parallel(*inputs(tmp_path))["parallel"]
    rows = {config["optimizer"]["lr"]: rows for config, _, rows in runs(tmp_path)}
    values = {lr: rows[lr][-1]["val/model/top1"] for lr in rows}
    low, high = min(values.values()), max(values.values())
    drawn = {points(line)[1][0]: line for line in trials(figure)}
    assert sorted(drawn) == pytest.approx([0, 1 / 3, 2 / 3, 1])  # logarithmic
    for height, lr in zip(sorted(drawn), sorted(values), strict=True):
        share = (values[lr] - low) / (high - low)
        assert points(drawn[height])[1][1] == pytest.approx(share)
    dashes = [str(drawn[height]._dash_pattern) for height in sorted(drawn)]  # type: ignore[attr-defined]
    assert dashes[0] == dashes[1] != dashes[2] == dashes[3]
    assert legend(figure) == ("", ["finished", "pruned"])
    assert figure.axes[0].child_axes[0].get_ylabel() == "validation accuracy"


def test_a_run_without_the_number_ends_before_the_value(tmp_path: Path) -> None:
    for number, status in enumerate(["finished", "finished", "pruned"]):
        write_run(tmp_path / str(number), lr=0.1 + number / 10, status=status)
    drawn = trials(draw_parallel(*inputs(tmp_path, value="test/top1"))["parallel"])
    assert [len(points(line)[0]) for line in drawn] == [2, 2]


def test_runs_that_go_on_or_failed_are_left_out(tmp_path: Path) -> None:
    for number, status in enumerate(["finished", "finished", "interrupted", "failed", "running"]):
        write_run(tmp_path / str(number), lr=0.1 + number / 10, status=status)
    figure = draw_parallel(*inputs(tmp_path))["parallel"]
    assert len(trials(figure)) == 2
    assert not figure.legends
    assert figure.axes[0].child_axes[0].get_ylabel() == "test accuracy"


def test_one_setting_has_no_figure(tmp_path: Path) -> None:
    write_grid(tmp_path, schedulers=("cosine",), decays=(0.9,))
    assert draw_parallel(*inputs(tmp_path)) == {}


def test_a_number_that_no_run_has_is_one_line(tmp_path: Path) -> None:
    write_grid(tmp_path)
    with pytest.raises(ValueError, match=r"^value must be .*, got test/top2; did you mean"):
        draw_parallel(*inputs(tmp_path, value="test/top2"))


def test_labels_do_not_overlap(tmp_path: Path) -> None:
    for number in range(24):
        name = f"a_backbone_with_a_long_name_{number % 12:02d}_and_more_of_it"
        folder = write_run(
            tmp_path / str(number),
            lr=0.03 * 1.3**number,
            scheduler="cosine" if number % 2 else "linear",
            num_samples=1,
            changes={"augment": {"prob": number / 30}, "loss": {"prob": number % 3 / 10}},
        )
        record = json.loads((folder / "run.json").read_text())
        record["choices"]["model"] = name
        (folder / "run.json").write_text(json.dumps(record))
    figure = draw_parallel(*inputs(tmp_path))["parallel"]
    figure.draw_without_rendering()
    axis = figure.axes[0]
    names = axis.get_xticklabels()
    shown = [text.get_text().replace("\n", "").replace(" ", "") for text in names]
    assert {"augment.prob", "loss.prob", "learningrate", "model"} <= set(shown)
    texts = [each for each in axis.texts if each.get_text()]
    assert max(len(each.get_text()) for each in texts) <= 28
    boxes = [each.get_window_extent() for each in [*texts, *names]]
    overlapping = [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert not overlapping
    assert min(box.x0 for box in boxes) >= 0
    axes = [axis.transData.transform((x, 0))[0] for x in range(len(names))]
    for box in boxes[: len(texts)]:  # between its axis and the one before
        assert not any(box.x0 < x < box.x1 for x in axes)


def test_more_axes_than_fit_are_left_out(tmp_path: Path) -> None:
    for number in range(2):
        changes = {"loss": {f"setting{each}": number for each in range(13)}}
        write_run(tmp_path / str(number), changes=changes)
    with pytest.raises(LeftOut, match=r"^parallel is left out: 13 axes, at most 12"):
        draw_parallel(*inputs(tmp_path))
