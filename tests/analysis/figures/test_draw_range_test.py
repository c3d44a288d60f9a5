"""Range tests are drawn from the files of runs."""

import csv
import math
from pathlib import Path

import pytest
from figure_inputs import inputs, legend, points, titles
from run_folders import write_run

from visionlab.analysis.figures.range_test import draw_range_test
from visionlab.core.range_test import smooth, suggest_lr

LRS = [10 ** (step / 25 - 4) for step in range(100)]


def losses(at: int) -> list[float]:
    return [1 / (1 + math.exp((step - at) / 4)) + 0.01 * (step % 3) for step in range(100)]


def write_test(folder: Path, at: int, *, lr: float = 0.1) -> None:
    write_run(folder, lr=lr)
    with (folder / "range_test.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["step", "lr", "loss", "smoothed_loss"])
        for step, (rate, loss) in enumerate(zip(LRS, losses(at), strict=True)):
            rows.writerow([step + 1, rate, loss, loss])


def test_each_run_is_a_panel(tmp_path: Path) -> None:
    write_test(tmp_path / "one", 40, lr=0.1)
    write_test(tmp_path / "two", 60, lr=0.2)
    write_run(tmp_path / "trained", lr=0.3)
    figure = draw_range_test(*inputs(tmp_path))["range_test"]
    assert len(figure.axes) == 2
    for axis, lr, at in zip(figure.axes, (0.1, 0.2), (40, 60), strict=True):
        each, mean = axis.get_lines()[:2]
        assert points(each) == (pytest.approx(LRS), pytest.approx(losses(at)))
        assert points(mean)[1] == pytest.approx(smooth(losses(at)))
        found = suggest_lr(LRS, smooth(losses(at)))
        assert axis.get_title() == f"learning rate {lr}\nfalls fastest at {found:.2g}"
        assert points(axis.get_lines()[3])[0] == pytest.approx([found])
        assert axis.get_xscale() == "log"
    assert legend(figure)[1] == ["loss of each step", "smoothed", "falls fastest"]


def test_a_loss_that_does_not_fall_has_no_mark(tmp_path: Path) -> None:
    write_test(tmp_path / "run", -1000)
    text = (tmp_path / "run" / "range_test.csv").read_text().splitlines()
    rising = [f"{step},{lr},{step},0" for step, lr in enumerate(LRS)]
    (tmp_path / "run" / "range_test.csv").write_text("\n".join([text[0], *rising]))
    figure = draw_range_test(*inputs(tmp_path))["range_test"]
    assert titles(figure.axes) == [""]
    assert legend(figure)[1] == ["loss of each step", "smoothed"]


def test_without_a_range_test_there_is_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    assert draw_range_test(*inputs(tmp_path)) == {}


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "step,lr,loss\n1,x,2\n", "step,lr,loss\n1\n"])
def test_another_file_of_that_name_is_one_line(text: str, tmp_path: Path) -> None:
    write_test(tmp_path / "run", 40)
    (tmp_path / "run" / "range_test.csv").write_text(text)
    with pytest.raises(
        ValueError, match=r"range_test.csv must have numeric columns step, lr, loss"
    ):
        draw_range_test(*inputs(tmp_path))
