"""The contract: every task trains, is evaluated and resumed by the same loop, unchanged."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from siblings import TASKS

from visionlab.engine.hparams import Stop
from visionlab.optim.plateau import Plateau
from visionlab.testing import CONTRACT
from visionlab.testing.contract import Check, MakeTask
from visionlab.testing.training import (
    NO_PLATEAU,
    NO_STOP,
    PLAN,
    Trained,
    assert_same,
    averages_of,
    train,
)

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
    warmup_ratio=0.0,
)
# losses over boxes are not per sample, and two_views says of no part that it is a backbone
_NOT_THERE = [("hard_examples", name) for name in ("detection", "boxes", "two_stages", "oriented")]
_NOT_THERE += [("frozen_backbone", "two_views")]
# the statistics of a part that takes other inputs than the model cannot be recomputed
_NOT_THERE += [("recomputed", "two_views")]
_MARKS = dict.fromkeys(
    ("detection", "fasterrcnn", "oriented"), pytest.mark.integration
)  # seconds each
every_task = pytest.mark.parametrize(
    "make_task",
    [pytest.param(make, id=name, marks=_MARKS.get(name, ())) for name, make in TASKS.items()],
)
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
@pytest.mark.parametrize("check", CONTRACT.values(), ids=CONTRACT)
def test_the_contract_holds(check: Check, make_task: MakeTask, tmp_path: Path) -> None:
    check(make_task, tmp_path)


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


@pytest.mark.parametrize(
    ("buffers", "make_task"),
    [
        pytest.param(buffers, make_task, id=f"{buffers}-{name}", marks=_MARKS.get(name, ()))
        for buffers in ("copied", "recomputed")
        for name, make_task in TASKS.items()
        if (buffers, name) not in _NOT_THERE
    ],
)
def test_resuming_is_exact_with_other_buffers_and_averages(
    buffers: str, make_task: MakeTask, tmp_path: Path
) -> None:
    averaged = averages_of(decay=[0.8], uniform=True, start_step=2, buffers=buffers)
    whole = train(make_task, tmp_path / "whole", averaged=averaged)
    stop = Stop(patience_epochs=None, max_steps=4, max_minutes=None)
    train(make_task, tmp_path / "broken", averaged=averaged, stop=stop)
    resumed = train(make_task, tmp_path / "broken", averaged=averaged, resume=True)
    assert_same(whole, resumed)
