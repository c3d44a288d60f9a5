"""The number that is tuned, as a job sees it."""

import math
from typing import Any

import pytest
from studies import results

from visionlab.core.interrupt import Pruned
from visionlab.sweeps.workers.trial import Objective, UnmeasuredError


class Trial:
    """Notes what is reported, and is to be pruned after some epochs."""

    def __init__(self, *pruned_after: int) -> None:
        self.reported: dict[int, float] = {}
        self._pruned_after = pruned_after

    def report(self, value: float, step: int) -> None:
        self.reported[step] = value

    def should_prune(self) -> bool:
        return max(self.reported) in self._pruned_after


def objective(trial: Any = None, **changes: Any) -> Objective:
    settings = {"kind": "raw", "monitor": "top1", "mode": "max", "epochs": 3}
    return Objective(**{**settings, **changes}, trial=trial)


def test_the_best_epoch_of_the_raw_weights_counts_and_each_is_reported() -> None:
    trial = Trial()
    raw = objective(trial)
    for epoch, value in ((1, 0.3), (2, 0.7), (3, 0.5)):
        raw.on_epoch({"epoch": epoch}, results(model=value, ema=0.9))
    assert trial.reported == {1: 0.3, 2: 0.7, 3: 0.5}
    assert raw.best() == 0.7


def test_the_best_average_counts_whatever_the_raw_weights_do() -> None:
    trial = Trial()
    averaged = objective(trial, kind="averaged", mode="min")
    averaged.on_epoch({"epoch": 1}, results(model=0.1, ema=0.5, uniform=0.4))
    averaged.on_epoch({"epoch": 2}, results(model=0.1, ema=math.nan, uniform=0.6))
    assert trial.reported == {1: 0.4, 2: 0.6}
    assert averaged.best() == 0.4


def test_part_of_an_epoch_and_an_epoch_without_validation_do_not_count() -> None:
    trial = Trial()
    raw = objective(trial)
    raw.on_epoch({"epoch": 0.5}, results(model=0.9))
    raw.on_epoch({"epoch": 1}, {})
    assert trial.reported == {}
    with pytest.raises(UnmeasuredError, match=r"^objective must be a finite top1 .* got None$"):
        raw.best()


def test_numbers_that_are_not_finite_are_not_reported() -> None:
    trial = Trial()
    raw = objective(trial)
    raw.on_epoch({"epoch": 1}, results(model=0.2))
    raw.on_epoch({"epoch": 2}, results(model=math.nan))
    assert trial.reported == {1: 0.2}
    assert raw.best() == 0.2


def test_a_trial_is_pruned_but_not_when_it_is_over() -> None:
    raw = objective(Trial(2, 3))
    raw.on_epoch({"epoch": 1}, results(model=0.2))
    with pytest.raises(Pruned, match=r"^pruned after epoch 2$"):
        raw.on_epoch({"epoch": 2}, results(model=0.2))
    raw.on_epoch({"epoch": 3}, results(model=0.2))
