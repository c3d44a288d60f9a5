"""Learning rates of runs, and of trainings that have not run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figure_inputs import inputs, legend, lines, naive, points
from run_folders import write_grid, write_run

from visionlab.analysis.figures.schedules import draw_planned_schedules, draw_schedules
from visionlab.analysis.options import PlannedOptions
from visionlab.optim.schedules import Constant, Cosine, Linear, MultiStep

PLAN: dict[str, Any] = {"schedulers": None, "lr": 0.1, "epochs": 12, "steps_per_epoch": 50}


def test_a_schedule_is_a_line(tmp_path: Path) -> None:
    for scheduler, lr in (("cosine", 0.1), ("constant", 0.2)):
        for seed in (1, 2):
            write_run(tmp_path / f"{scheduler}{seed}", scheduler=scheduler, lr=lr, seed=seed)
    figure = draw_schedules(*inputs(tmp_path))["schedules"]
    (axis,) = figure.axes
    assert list(lines(axis)) == ["learning rate 0.1, cosine", "learning rate 0.2, constant"]
    for label, line in lines(axis).items():
        xs, means, _ = naive(tmp_path, lambda row: row["lr"], scheduler=label.split(", ")[1])
        assert points(line) == (xs, pytest.approx(means))
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("epoch", "learning rate")
    assert legend(figure)[0] == ""  # seeds have the same rates: no band


class Wrong:
    """A schedule of another version."""

    def __call__(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        return 0.5


def test_a_schedule_is_drawn_at_every_step_if_it_agrees_with_the_rows(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", epochs=4)
    cosine = Cosine(every="step", warmup_steps=12, warmup_epochs=0, warmup_ratio=0.0)
    rates = [0.1 * cosine(step, total_steps=40, steps_per_epoch=10) for step in range(40)]
    path = folder / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["lr"] = rates[row["step"] - 1]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    at_ends = [1.0, 2.0, 3.0, 4.0]
    for schedule, expected in (
        (cosine, [(step + 1) / 10 for step in range(40)]),
        (Wrong(), at_ends),
        (None, at_ends),
    ):
        figure = draw_schedules(*inputs(folder), lambda settings, found=schedule: found)[
            "schedules"
        ]
        xs, ys = points(figure.axes[0].get_lines()[0])
        assert xs == pytest.approx(expected)
        assert ys == pytest.approx(rates if schedule is cosine else rates[9::10])
    figure = draw_schedules(*inputs(folder, x="step"), lambda settings: cosine)["schedules"]
    assert points(figure.axes[0].get_lines()[0])[0] == list(range(1, 41))


def test_settings_that_do_not_change_the_rate_are_no_lines(tmp_path: Path) -> None:
    for depth in (20, 56):
        model = {
            "_target_": "visionlab.tasks.classification.ResNetCifar",
            "depth": depth,
        }
        for lr in (0.1, 0.2):
            write_run(tmp_path / f"{depth}{lr}", lr=lr, changes={"model": model})
    (axis,) = draw_schedules(*inputs(tmp_path))["schedules"].axes
    assert list(lines(axis)) == ["learning rate 0.1", "learning rate 0.2"]


def test_one_schedule_is_one_line(tmp_path: Path) -> None:
    write_grid(tmp_path, schedulers=("cosine",))
    figure = draw_schedules(*inputs(tmp_path))["schedules"]
    assert len(figure.axes[0].get_lines()) == 1
    assert not figure.legends


def test_runs_without_rates_have_no_figure(tmp_path: Path) -> None:
    (write_run(tmp_path / "run") / "metrics.jsonl").write_text("")
    assert draw_schedules(*inputs(tmp_path)) == {}


def test_what_is_planned_is_the_rate_of_each_step() -> None:
    none = {"warmup_steps": 0, "warmup_epochs": 0, "warmup_ratio": 0.0}
    schedules = {
        "constant": Constant(**none),
        "cosine": Cosine(every="step", **none),
        "linear": Linear(warmup_steps=100, warmup_epochs=0, warmup_ratio=0.0),
        "multistep": MultiStep(milestone_epochs=[4, 8], milestone_steps=[], gamma=0.1, **none),
    }
    (figure,) = draw_planned_schedules(schedules, PlannedOptions(**PLAN)).values()
    (axis,) = figure.axes
    assert list(lines(axis)) == list(schedules)
    for label, line in lines(axis).items():
        epochs, rates = points(line)
        assert epochs == pytest.approx([(step + 1) / 50 for step in range(600)])
        factors = [
            schedules[label](step, total_steps=600, steps_per_epoch=50) for step in range(600)
        ]
        assert rates == pytest.approx([0.1 * factor for factor in factors])
    assert legend(figure)[1] == list(schedules)
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("epoch", "learning rate")


def test_a_long_plan_is_drawn_with_few_points() -> None:
    schedule = Linear(warmup_steps=0, warmup_epochs=0, warmup_ratio=0.0)
    plan = PlannedOptions(schedulers=None, lr=1.0, epochs=180, steps_per_epoch=390)
    (figure,) = draw_planned_schedules({"linear": schedule}, plan).values()
    (line,) = figure.axes[0].get_lines()
    epochs, rates = points(line)
    assert len(epochs) == 1000
    assert (epochs[0], epochs[-1]) == pytest.approx((1 / 390, 180))
    assert rates == pytest.approx(1 - (np.array(epochs) * 390 - 1) / 70200)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedules": {}}, "planned.schedulers must be 1 to 14, got 0"),
        (
            {"epochs": 1, "steps_per_epoch": 5},
            "warmup_steps must be shorter than the run of 5 steps",
        ),
    ],
)
def test_a_plan_that_cannot_be_is_one_line(changes: dict[str, Any], message: str) -> None:
    given = {
        "schedules": {"a": Linear(warmup_steps=10, warmup_epochs=0, warmup_ratio=0.0)},
        **PLAN,
        **changes,
    }
    with pytest.raises(ValueError, match=f"^{message}"):
        draw_planned_schedules(given.pop("schedules"), PlannedOptions(**given))
