"""Losses against what the files say."""

import json
from pathlib import Path

import pytest
from figure_inputs import inputs, legend, lines, naive, points
from run_folders import write_run

from visionlab.analysis.figures.losses import draw_losses


def with_losses(folder: Path, lr: float, losses: list[float]) -> None:
    """Write a run whose losses of training are these; those of validation are half as high."""
    write_run(folder, lr=lr, epochs=len(losses), num_samples=2)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row, loss in zip(rows, losses, strict=True):
        row |= {"train/loss": loss, "val/model/loss": loss / 2}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_runs_share_axes_and_splits_differ_in_dashes(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        with_losses(tmp_path / str(lr), lr, [3.0, 2.0, 1 + lr])
    figure = draw_losses(*inputs(tmp_path))["losses"]
    (axis,) = figure.axes
    drawn = axis.get_lines()
    assert len(drawn) == 4
    for line, (lr, key) in zip(
        drawn,
        [(lr, key) for lr in (0.1, 0.2) for key in ("train/loss", "val/model/loss")],
        strict=True,
    ):
        xs, means, _ = naive(tmp_path, lambda row, key=key: row[key], lr=lr)
        assert points(line) == (xs, means)
    assert [line.get_linestyle() for line in drawn] == ["-", "--", "-", "--"]
    assert len({line.get_marker() for line in drawn}) == 2
    assert legend(figure) == ("learning rate", ["0.1", "0.2", "training", "validation"])
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("epoch", "loss")


def test_of_many_settings_only_training_is_drawn(tmp_path: Path) -> None:
    for number in range(8):
        with_losses(tmp_path / str(number), 0.1 + number / 10, [3.0, 2.0])
    (axis,) = draw_losses(*inputs(tmp_path))["losses"].axes
    drawn = lines(axis).values()
    assert len(drawn) == 8
    looks = {(line.get_marker(), str(line._dash_pattern)) for line in drawn}  # type: ignore[attr-defined]
    assert len(looks) == 8
    assert axis.get_ylabel() == "training loss"


def test_a_broken_axis_leaves_a_range_out(tmp_path: Path) -> None:
    with_losses(tmp_path / "run", 0.1, [90.0, 70.0, 2.0, 1.0])
    figure = draw_losses(*inputs(tmp_path, broken_axis=(3.0, 30.0)))["losses"]
    upper, lower = figure.axes
    assert upper.get_ylim()[0] == 30
    assert upper.get_ylim()[1] > 90
    assert lower.get_ylim()[0] < 0.5
    assert lower.get_ylim()[1] == 3
    assert upper.get_xlim() == lower.get_xlim()
    for axis in (upper, lower):
        drawn = [line for line in axis.get_lines() if line.get_linestyle() != "None"]
        assert [points(line)[1] for line in drawn] == [[90, 70, 2, 1], [45, 35, 1, 0.5]]
        marks = [line for line in axis.get_lines() if line.get_linestyle() == "None"]
        assert len(marks) == 1


def test_a_loss_out_of_all_proportion_makes_the_axis_logarithmic(tmp_path: Path) -> None:
    with_losses(tmp_path / "one", 0.1, [3.0, 2.0, 1.0])
    assert draw_losses(*inputs(tmp_path))["losses"].axes[0].get_yscale() == "linear"
    with_losses(tmp_path / "two", 0.2, [3.0, 1e9, 1.0])
    (axis,) = draw_losses(*inputs(tmp_path))["losses"].axes
    assert axis.get_yscale() == "log"
    assert axis.get_ylim()[1] > 1e9


@pytest.mark.parametrize("ends", [(100.0, 200.0), (0.1, 0.2)])
def test_a_range_that_leaves_a_side_empty_is_one_line(
    ends: tuple[float, float], tmp_path: Path
) -> None:
    with_losses(tmp_path / "run", 0.1, [4.0, 3.0])
    message = r"^broken_axis must have losses on both sides, which are 1.5 to 4, got \["
    with pytest.raises(ValueError, match=message):
        draw_losses(*inputs(tmp_path, broken_axis=ends))


def test_without_rows_there_is_nothing(tmp_path: Path) -> None:
    (write_run(tmp_path / "run") / "metrics.jsonl").write_text("")
    assert draw_losses(*inputs(tmp_path)) == {}
