"""The contract: every task trains, is evaluated and resumed by the same loop, unchanged."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from siblings import TASKS
from torch import Tensor
from training import (
    EACH_EPOCH,
    NO_PLATEAU,
    NO_STOP,
    PLAN,
    Trained,
    assert_same,
    averages_of,
    train,
)

from visionlab.engine.evaluation import Result, evaluate
from visionlab.engine.hparams import Stop
from visionlab.engine.observers import Predictions, TensorBoard
from visionlab.engine.progress import Terminal
from visionlab.engine.reduction import reduced
from visionlab.engine.state import TrainState
from visionlab.optim.plateau import Plateau
from visionlab.task import Task

MakeTask = Callable[[], Task]
NO_AUTOCAST = partial(torch.autocast, "cpu", enabled=False)
FALLING_FAST = Plateau(
    monitor="train/loss",
    mode="min",
    every="step",
    gamma=0.7,
    patience_epochs=0.0,
    patience_steps=1,
    threshold=0.3,
    smoothing=0.5,
    min_ratio=0.1,
    warmup_steps=1,
    warmup_epochs=0,
)
every_task = pytest.mark.parametrize("make_task", TASKS.values(), ids=TASKS)
# losses over boxes are not per sample, and two_views says of no part that it is a backbone
_NOT_THERE = [("hard_examples", "detection"), ("hard_examples", "boxes")]
_NOT_THERE += [("frozen_backbone", "two_views")]
_MARKS = {"detection": pytest.mark.integration}  # seconds for each case
SETTINGS_OF_TASKS = [
    pytest.param(setting, make_task, id=f"{setting}-{name}", marks=_MARKS.get(name, ()))
    for setting in ("plateau", "frozen_backbone", "hard_examples")
    for name, make_task in TASKS.items()
    if (setting, name) not in _NOT_THERE
]
Whole = Callable[..., Trained]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Return a function that gives the unbroken run of a task, trained once for all tests."""
    runs: dict[str, Trained] = {}

    def trained(make_task: MakeTask, **settings: Any) -> Trained:
        key = f"{make_task.__name__} {settings}"
        if key not in runs:
            runs[key] = train(make_task, tmp_path_factory.mktemp("whole"), **settings)
        return runs[key]

    return trained


@every_task
def test_losses_are_finite_and_every_trained_parameter_gets_a_gradient(make_task: MakeTask) -> None:
    task = make_task()
    batch = next(iter(task.splits["train"].batches(batch_size=16, epoch=0, first_batch=0)))
    losses, extra_scalars = task.losses(batch)
    assert all(value.shape in ((), (16,)) for value in losses.values())
    scalars = reduced(losses)
    scalars["loss"].backward()
    assert all(math.isfinite(value.detach()) for value in {**scalars, **extra_scalars}.values())
    for name, parameter in task.model.named_parameters():
        got_one = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert got_one == parameter.requires_grad, name


@every_task
def test_a_few_batches_can_be_learnt(make_task: MakeTask, tmp_path: Path) -> None:
    hparams, seldom = replace(PLAN, epochs=20), replace(EACH_EPOCH, every_epochs=20)
    averaged = averages_of(decay=[])
    trained = train(make_task, tmp_path, hparams=hparams, evaluation=seldom, averaged=averaged)
    rows = trained.rows
    # from the second epoch: before, a queue holds noise instead of keys
    assert rows[-1]["train/loss"] < 0.6 * rows[1]["train/loss"]


@every_task
def test_evaluation_changes_nothing(make_task: MakeTask) -> None:
    task = make_task()
    task.model.train()
    before = copy.deepcopy(task.model.state_dict())
    results = [
        evaluate(
            task,
            task.model,
            task.splits["val"],
            batch_size=batch_size,
            autocast=NO_AUTOCAST,
            check=lambda: None,
        )
        for batch_size in (8, 8)
    ]
    assert results[0].metrics == results[1].metrics
    assert task.model.training
    assert all(torch.equal(before[key], value) for key, value in task.model.state_dict().items())


@every_task
def test_batch_size_of_an_evaluation_changes_no_metric(make_task: MakeTask) -> None:
    task = make_task()
    numbers = [
        evaluate(
            task,
            task.model,
            task.splits["val"],
            batch_size=batch_size,
            autocast=NO_AUTOCAST,
            check=lambda: None,
        ).metrics
        for batch_size in (1, 5, 100)
    ]
    for name in task.metric.names:
        assert [each[name] for each in numbers] == pytest.approx([numbers[0][name]] * 3, abs=1e-6)


class Greedy:
    """Draws random numbers, reads everything and keeps it."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        self.seen.append((torch.rand(3), state.step, lr, loss.item(), num_samples))

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        self.seen.append((torch.rand(3), dict(row), dict(results)))

    def close(self) -> None:
        pass


@every_task
def test_observers_change_nothing(make_task: MakeTask, whole: Whole, tmp_path: Path) -> None:
    task = make_task()
    observers = [
        Greedy(),
        Terminal(TrainState(), total_steps=9, epochs=3, monitor=task.monitor),
        Predictions(tmp_path / "predictions"),
        TensorBoard(tmp_path / "events", step=0, config="", settings={}),
    ]
    watched = train(make_task, tmp_path / "watched", observers=observers)
    for observer in observers:
        observer.close()
    assert_same(whole(make_task), watched)
    assert len(list((tmp_path / "predictions").glob("*.npz"))) == 3 * 3


@every_task
@pytest.mark.parametrize("step", [1, 2, 3, 4, 7])
def test_a_resumed_run_equals_an_unbroken_one(
    make_task: MakeTask, step: int, whole: Whole, tmp_path: Path
) -> None:
    stop = Stop(patience_epochs=None, max_steps=step, max_minutes=None)
    broken = train(make_task, tmp_path / "broken", stop=stop)
    assert broken.state.step == step
    resumed = train(make_task, tmp_path / "broken", resume=True)
    assert_same(whole(make_task), resumed)
    assert resumed.state.best == whole(make_task).state.best


@pytest.mark.parametrize("step", [2, 3, 4])
@pytest.mark.parametrize(("setting", "make_task"), SETTINGS_OF_TASKS)
def test_resuming_is_exact_with_what_else_an_epoch_or_step_may_depend_on(
    setting: str, make_task: MakeTask, step: int, whole: Whole, tmp_path: Path
) -> None:
    hparams, plateau = PLAN, NO_PLATEAU
    if setting == "plateau":
        plateau = FALLING_FAST
    elif setting == "frozen_backbone":
        hparams = replace(PLAN, freeze_backbone_epochs=1)
    else:
        hparams = replace(PLAN, hard_examples=[0.1, 0.6])
    settings = {"hparams": hparams, "plateau": plateau}
    unbroken = whole(make_task, **settings)
    train(make_task, tmp_path / "broken", stop=replace(NO_STOP, max_steps=step), **settings)
    assert_same(unbroken, train(make_task, tmp_path / "broken", resume=True, **settings))
    assert (unbroken.state.plateau.factor < 1.0) == (setting == "plateau")


@every_task
def test_averages_do_not_change_the_training(
    make_task: MakeTask, whole: Whole, tmp_path: Path
) -> None:
    with_averages = whole(make_task).task.model.state_dict()
    without = train(make_task, tmp_path, averaged=averages_of(decay=[]))
    for key, value in without.task.model.state_dict().items():
        assert torch.equal(value, with_averages[key]), key


@every_task
def test_an_average_with_decay_zero_is_the_model(make_task: MakeTask, tmp_path: Path) -> None:
    trained = train(make_task, tmp_path, averaged=averages_of(decay=0.0))
    for row in trained.rows:
        for name in (*trained.task.metric.names, "loss"):
            assert row[f"val/ema_0.0/{name}"] == row[f"val/model/{name}"]
        assert row["norm/model_minus_ema_0.0"] == 0.0


@pytest.mark.parametrize(
    "make_task",
    [pytest.param(make, id=name, marks=_MARKS.get(name, ())) for name, make in TASKS.items()],
)
@pytest.mark.parametrize("buffers", ["copied", "recomputed"])
def test_resuming_is_exact_with_other_buffers_and_averages(
    make_task: MakeTask, buffers: str, tmp_path: Path
) -> None:
    averaged = averages_of(decay=[0.8], uniform=True, start_step=2, buffers=buffers)
    whole = train(make_task, tmp_path / "whole", averaged=averaged)
    stop = Stop(patience_epochs=None, max_steps=4, max_minutes=None)
    train(make_task, tmp_path / "broken", averaged=averaged, stop=stop)
    resumed = train(make_task, tmp_path / "broken", averaged=averaged, resume=True)
    assert_same(whole, resumed)


@every_task
def test_two_runs_of_a_seed_are_equal(make_task: MakeTask, whole: Whole, tmp_path: Path) -> None:
    first = whole(make_task)
    torch.manual_seed(2)
    assert_same(first, train(make_task, tmp_path))
