"""Distances of averages against a naive computation from the files."""

from pathlib import Path

import pytest
from figure_inputs import inputs, legend, lines, naive, points, titles
from run_folders import write_grid, write_run

from visionlab.analysis.figures.curves import draw_norms


def test_a_panel_is_an_average_and_a_line_a_schedule(tmp_path: Path) -> None:
    write_grid(tmp_path)
    figure = draw_norms(*inputs(tmp_path))["norms"]
    assert titles(figure.axes) == ["EMA 0.9", "EMA 0.99"]
    for axis, name in zip(figure.axes, ("ema_0.9", "ema_0.99"), strict=True):
        assert list(lines(axis)) == ["constant", "cosine"]
        for label, line in lines(axis).items():
            xs, means, _ = naive(
                tmp_path,
                lambda row, name=name: (
                    row[f"norm/model_minus_{name}"] / row["norm/model"]
                    if f"norm/{name}" in row
                    else None
                ),
                scheduler=label,
            )
            assert points(line) == (xs, pytest.approx(means))
    label = figure.axes[0].get_ylabel().replace("\n", " ")
    assert label == "‖average \N{MINUS SIGN} weights‖ / ‖weights‖"
    assert legend(figure) == ("mean ± std, 3 seeds", ["constant", "cosine"])


def test_the_highest_is_in_the_picture(tmp_path: Path) -> None:
    write_run(tmp_path / "run", epochs=40)
    (axis,) = draw_norms(*inputs(tmp_path))["norms"].axes
    (line,) = axis.get_lines()
    assert axis.get_ylim()[0] <= 0
    assert axis.get_ylim()[1] > max(points(line)[1])


def test_a_run_without_averages_has_no_norms(tmp_path: Path) -> None:
    write_run(tmp_path / "run", decay=[])
    assert draw_norms(*inputs(tmp_path)) == {}
