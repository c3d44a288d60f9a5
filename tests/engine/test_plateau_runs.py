"""A plateau schedule in the loop: which values it gets, when, and after a stop."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from siblings import boxes, classification
from torch import Tensor

from visionlab.engine.checkpoints import LAST, load_last
from visionlab.engine.evaluation import Result
from visionlab.engine.state import TrainState
from visionlab.files.tensors import read_tensors, write_tensors
from visionlab.optim.plateau import Plateau, PlateauState
from visionlab.task import Task
from visionlab.testing.training import EACH_EPOCH, NO_STOP, PLAN, Trained, assert_same, train

pytestmark = pytest.mark.integration

BY_STEP = Plateau(
    monitor="train/loss",
    mode="min",
    every="step",
    gamma=0.5,
    patience_epochs=0.4,  # of three steps: one
    patience_steps=0,
    threshold=0.2,
    smoothing=0.3,
    min_ratio=0.01,
    warmup_steps=0,
    warmup_epochs=0,
    warmup_ratio=0.0,
)
BY_EPOCH = replace(BY_STEP, every="epoch", patience_epochs=1.0, monitor="val/ema_0.5/iou")


class Steps:
    """Keeps rate, loss and the plateau's factor of each step."""

    def __init__(self) -> None:
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.factors: list[float] = []

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        self.lrs.append(lr)
        self.losses.append(loss.item())
        self.factors.append(state.plateau.factor)

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        pass

    def close(self) -> None:
        pass


def trained(
    folder: Path, plateau: Plateau, *, every_epochs: int = 1, **settings: object
) -> Trained:
    return train(
        boxes,
        folder,
        plateau=plateau,
        hparams=replace(PLAN, epochs=6),
        evaluation=replace(EACH_EPOCH, every_epochs=every_epochs),
        **settings,  # type: ignore[arg-type]
    )


def test_the_rate_has_the_factor_of_what_was_seen_so_far(tmp_path: Path) -> None:
    seen = Steps()
    run = trained(tmp_path, BY_STEP, observers=[seen], schedule=lambda step: 1.0 / (step + 1))
    state, expected = PlateauState(), []
    for step, loss in enumerate(seen.losses):
        expected.append(0.05 * (1.0 / (step + 1)) * state.factor)
        BY_STEP.update(state, loss, patience=1)
        assert seen.factors[step] == state.factor
    assert seen.lrs == expected
    assert run.state.plateau == state
    assert state.factor < 0.5
    assert [row["lr"] for row in run.rows] == expected[2::3]


def test_a_row_moves_the_rate_of_the_next_epoch(tmp_path: Path) -> None:
    seen = Steps()
    run = trained(tmp_path, BY_EPOCH, observers=[seen], schedule=lambda step: 1.0)
    state, expected = PlateauState(), []
    for row in run.rows:
        expected += 3 * [0.05 * state.factor]
        BY_EPOCH.update(state, row["val/ema_0.5/iou"], patience=1)
    assert seen.lrs == expected
    assert state.factor < 1.0


def test_epochs_without_validation_leave_it_alone(tmp_path: Path) -> None:
    plateau = replace(BY_EPOCH, patience_epochs=2.0)
    run = trained(tmp_path, plateau, every_epochs=2)
    assert run.state.plateau.num_values == 3
    of_training = replace(plateau, monitor="train/loss")
    assert trained(tmp_path / "train", of_training, every_epochs=2).state.plateau.num_values == 6


class Whole(NamedTuple):
    """An unbroken run, with its settings and what it did."""

    settings: Mapping[str, Any]
    run: Trained
    seen: Steps


@pytest.fixture(
    scope="module",
    params=[(BY_STEP, 1), (BY_EPOCH, 1), (replace(BY_EPOCH, patience_epochs=2.0), 2)],
    ids=["step", "epoch", "epochs"],
)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    plateau, every_epochs = request.param
    settings, seen = {"plateau": plateau, "every_epochs": every_epochs}, Steps()
    folder = tmp_path_factory.mktemp("whole")
    return Whole(settings, trained(folder, **settings, observers=[seen]), seen)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 6, 8, 9, 12, 17])
def test_resuming_is_exact_at_every_kind_of_step(whole: Whole, step: int, tmp_path: Path) -> None:
    seen, stop = Steps(), replace(NO_STOP, max_steps=step)
    trained(tmp_path, **whole.settings, stop=stop, observers=[seen])
    again = trained(tmp_path, **whole.settings, resume=True, observers=[seen])
    assert whole.run.state.plateau == again.state.plateau
    assert whole.seen.lrs == seen.lrs
    assert whole.run.state.plateau.factor < 1.0
    for name, value in whole.run.tensors().items():
        assert torch.equal(value, again.tensors()[name]), name
    if whole.settings["every_epochs"] == 1:  # a rule's last row is validated out of turn
        assert_same(whole.run, again)


def test_checkpoints_from_before_there_were_plateaus_are_read(tmp_path: Path) -> None:
    whole = train(classification, tmp_path / "whole")
    train(classification, tmp_path / "old", stop=replace(NO_STOP, max_steps=4))
    path = tmp_path / "old" / "checkpoints" / LAST
    content = read_tensors(path, require_checksum=True)
    del content["state"]["plateau"]
    write_tensors(path, content)
    assert_same(whole, train(classification, tmp_path / "old", resume=True))


def test_a_checkpoint_holds_what_was_seen(tmp_path: Path) -> None:
    run = trained(tmp_path, BY_STEP, stop=replace(NO_STOP, max_steps=5))
    last = load_last(tmp_path / "checkpoints")
    assert last is not None
    assert last["state"]["plateau"] == vars(run.state.plateau)
    assert last["state"]["plateau"]["num_values"] == 5


def test_a_number_that_is_not_known_is_no_gain(tmp_path: Path) -> None:
    def make() -> Task:
        task = boxes()
        task.metric.compute = lambda: {"iou": math.nan}  # type: ignore[method-assign]
        return task

    plateau = replace(BY_EPOCH, monitor="val/model/iou")
    run = train(make, tmp_path, plateau=plateau, hparams=replace(PLAN, epochs=4))
    assert run.state.plateau == PlateauState(factor=0.25)
