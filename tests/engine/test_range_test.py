"""The range test: what is kept of each step, the suggestion, and the picture."""

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from siblings import boxes, classification
from torch import Tensor

from visionlab.analysis.figures.range_test import write_range_test
from visionlab.core.range_test import smooth, suggest_lr
from visionlab.engine.range_test import RangeCurve
from visionlab.engine.state import TrainState
from visionlab.files.run_folder import read_range_test
from visionlab.optim.schedules import RangeTest
from visionlab.task import Task
from visionlab.testing.training import NO_STOP, PLAN, Trained, assert_same, train

pytestmark = pytest.mark.integration

STEPS = 30
LOSSES = st.lists(st.floats(-10, 10), min_size=1, max_size=120)


class Drawn:
    """Notes what would be drawn."""

    def __init__(self) -> None:
        self.extra_scalars: list[dict[str, Any]] = []

    def __call__(self, **curve: Any) -> None:
        self.extra_scalars.append(curve)


def run(
    folder: Path, drawn: Drawn, *, make: Any = boxes, resume: bool = False, **settings: Any
) -> Trained:
    """Train 10 epochs of 3 steps, the rate falling from 0.1 to 0.001."""
    schedule = partial(
        RangeTest(start_lr=0.1, end_lr=0.001, base_lr=0.05), total_steps=STEPS, steps_per_epoch=3
    )
    state = TrainState()
    if resume:
        last = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
        state = TrainState.from_state_dict(last["state"])
    curve = RangeCurve(folder / "range_test.csv", step=state.step, draw=drawn)
    try:
        return train(
            make,
            folder,
            hparams=replace(PLAN, epochs=10),
            schedule=schedule,
            observers=[curve],
            resume=resume,
            **settings,
        )
    finally:
        curve.close()


def valley(step: int, *, at: int, width: float) -> float:
    """Return a loss that falls fastest at a step."""
    return 1.0 / (1.0 + math.exp((step - at) / width))


def rates(count: int, *, way: int = 1) -> list[float]:
    return [10 ** (way * (step / 20 - 4)) for step in range(count)]


def test_the_file_has_each_step(tmp_path: Path) -> None:
    drawn = Drawn()
    trained = run(tmp_path, drawn)
    header, *rows = (tmp_path / "range_test.csv").read_text().splitlines()
    assert header == "step,lr,loss,smoothed_loss"
    points = read_range_test(tmp_path / "range_test.csv")
    assert [point.step for point in points] == list(range(1, STEPS + 1))
    lrs = [point.lr for point in points]
    assert lrs == pytest.approx([0.1 * 0.01 ** (step / (STEPS - 1)) for step in range(STEPS)])
    losses = [point.loss for point in points]
    for row in trained.rows:  # batches of the same size: the row has their mean
        epoch = losses[row["step"] - 3 : row["step"]]
        assert row["train/loss"] == pytest.approx(sum(epoch) / 3)
    assert [float(row.split(",")[3]) for row in rows] == smooth(losses)
    (curve,) = drawn.extra_scalars
    assert curve["lrs"] == lrs
    assert curve["losses"] == losses
    assert curve["smoothed"] == smooth(losses)
    assert curve["suggestion"] == suggest_lr(lrs, smooth(losses))


def test_it_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "with").mkdir()
    watched = run(tmp_path / "with", Drawn())
    schedule = partial(
        RangeTest(start_lr=0.1, end_lr=0.001, base_lr=0.05), total_steps=STEPS, steps_per_epoch=3
    )
    hparams = replace(PLAN, epochs=10)
    assert_same(watched, train(boxes, tmp_path / "alone", hparams=hparams, schedule=schedule))


@pytest.mark.parametrize("step", [3, 29])
def test_a_resumed_run_keeps_the_rows_before(step: int, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    drawn = Drawn(), Drawn()
    for folder in (whole, broken):
        folder.mkdir()
    run(whole, drawn[0])
    run(broken, drawn[1], stop=replace(NO_STOP, max_steps=step))
    with (broken / "range_test.csv").open("a") as file:  # of steps after the checkpoint
        file.write(f"{step + 1},0.5,1.0,1.0\n")
    run(broken, drawn[1], resume=True)
    name = "range_test.csv"
    assert (broken / name).read_text() == (whole / name).read_text()
    assert drawn[1].extra_scalars[-1] == drawn[0].extra_scalars[-1]


def test_what_was_before_a_loss_that_is_not_finite_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    calls: list[int] = []

    def make() -> Task:
        task = classification()

        def loss(outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
            calls.extend([1] * torch.is_grad_enabled())
            factor = math.inf if torch.is_grad_enabled() and len(calls) >= 20 else 1.0
            return {"cross_entropy": task.loss(outputs, targets)["cross_entropy"] * factor}

        return replace(task, loss=loss)

    drawn = Drawn()
    with pytest.raises(FloatingPointError, match="at step 20 of epoch 7"):
        run(tmp_path, drawn, make=make)
    points = read_range_test(tmp_path / "range_test.csv")
    assert [point.step for point in points] == list(range(1, 20))
    assert all(math.isfinite(point.loss) for point in points)
    assert len(drawn.extra_scalars) == 1
    assert "range test: " in caplog.text


def test_without_a_step_nothing_is_written(tmp_path: Path) -> None:
    drawn = Drawn()
    RangeCurve(tmp_path / "range_test.csv", step=0, draw=drawn).close()
    assert list(tmp_path.iterdir()) == []
    assert drawn.extra_scalars == []


def naive_smoothed(losses: list[float]) -> list[float]:
    reach, means = len(losses) // 20, []
    for here in range(len(losses)):
        weights = [max(0, reach + 1 - abs(here - there)) for there in range(len(losses))]
        pairs = zip(weights, losses, strict=True)
        means.append(sum(weight * loss for weight, loss in pairs) / sum(weights))
    return means


@given(losses=LOSSES)
def test_smoothing_equals_the_naive_mean(losses: list[float]) -> None:
    assert smooth(losses) == pytest.approx(naive_smoothed(losses), rel=1e-9, abs=1e-9)


@given(losses=LOSSES)
def test_smoothing_does_not_lag(losses: list[float]) -> None:
    assert smooth(losses[::-1]) == pytest.approx(smooth(losses)[::-1], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("way", [1, -1])
@pytest.mark.parametrize("at", [12, 30, 47, 70])
def test_the_rate_where_the_loss_falls_fastest_is_suggested(at: int, way: int) -> None:
    lrs = rates(100, way=way)
    losses = [valley(step, at=at, width=3.0) for step in range(100)]
    assert suggest_lr(lrs, smooth(losses)) == lrs[at]


@pytest.mark.parametrize("at", [0, 2, 98])
def test_the_first_and_last_steps_are_left_out(at: int) -> None:
    lrs = rates(100)
    losses = [2.0 - step / 100 - 5.0 * (step > at) for step in range(100)]
    found = suggest_lr(lrs, losses)
    assert found is not None
    assert lrs[5] <= found <= lrs[94]
    assert losses[lrs.index(found)] not in (losses[at], losses[at + 1])


def test_a_recovery_after_the_lowest_loss_is_not_taken() -> None:
    lrs = rates(100)
    losses = [valley(step, at=30, width=4.0) for step in range(60)]
    losses += [50.0 - 2 * abs(step - 20) for step in range(40)]  # up, and down again
    assert suggest_lr(lrs, smooth(losses)) == lrs[30]


@pytest.mark.parametrize(
    "losses",
    [[1.0], [2.0, 1.0], [2.0 - 0.1 * step for step in range(10)], [1.0] * 50, [*range(50)]],
)
def test_without_a_fall_or_with_few_steps_there_is_no_suggestion(losses: list[float]) -> None:
    assert suggest_lr(rates(len(losses)), smooth(losses)) is None


@given(losses=LOSSES, way=st.sampled_from([1, -1]))
def test_a_suggestion_is_a_rate_that_was_used(losses: list[float], way: int) -> None:
    lrs = rates(len(losses), way=way)
    found = suggest_lr(lrs, smooth(losses))
    assert found is None or found in lrs


@pytest.mark.parametrize("way", [1, -1])
@pytest.mark.parametrize("count", [1, 8, 100])
def test_any_curve_can_be_drawn(way: int, count: int, tmp_path: Path) -> None:
    lrs = rates(count, way=way)
    losses = [valley(step, at=30, width=4.0) + (step > 80) * 1e6 for step in range(count)]
    path = tmp_path / "pictures" / "range_test.png"
    means = smooth(losses)
    found = suggest_lr(lrs, means)
    write_range_test(path, lrs=lrs, losses=losses, smoothed=means, suggestion=found)
    with Image.open(path) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or []}
    assert ((213, 94, 0) in colours) == (found is not None)  # the mark
