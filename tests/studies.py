"""Studies whose trials train nothing: a function of the learning rate, epoch by epoch."""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hydra.core.utils import JobReturn
from omegaconf import OmegaConf
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import RandomSampler

from visionlab.sweeps.tuning.plan import Plan
from visionlab.sweeps.tuning.space import Interval
from visionlab.sweeps.tuning.study import Study
from visionlab.sweeps.tuning.trial_queue import ask
from visionlab.sweeps.workers.trial import Objective, run_and_record

EPOCHS = 4
Curve = Callable[[float, int], float]  # the number after an epoch, from rate and epoch


def plan(folder: Path, **changes: Any) -> Plan:
    settings: dict[str, Any] = {
        "n_trials": 4,
        "n_jobs": 1,
        "max_failures": 1,
        "url": f"sqlite:///{folder / 'study.db'}",
        "study_name": "tune",
        "direction": "maximize",
        "objective": "val/top1",
        "sampler": OmegaConf.create({"_target_": "optuna.samplers.TPESampler"}),
        "pruner": OmegaConf.create({"_target_": "optuna.pruners.NopPruner"}),
        "seed": 0,
        "space": {"optimizer.lr": Interval(low=0.001, high=1.0, log=True)},
        "options": ["--config-dir=mine"],
        "fixed": ["model.depth=8"],
        "invariants": {"objective": "raw", "monitor": "top1", "settings": "model.depth=8"},
        "folder": folder,
    }
    return Plan(**{**settings, **changes})


def study_of(tuning: Plan) -> Study:
    return Study(tuning.url, tuning.study_name)


def good(lr: float, epoch: int) -> float:
    """Best at 0.1, and better with each epoch."""
    return (1 - abs(math.log10(lr) + 1) / 3) * (1 - 0.5**epoch)


def run(tuning: Plan, number: int, lr: float, curve: Curve, pruner: BasePruner | None) -> None:
    """Do what a job does."""
    study = study_of(tuning)
    trial = study.trial(number, pruner=pruner or NopPruner())
    objective = Objective(kind="raw", monitor="top1", mode="max", epochs=EPOCHS, trial=trial)

    def train() -> float:
        for epoch in range(1, EPOCHS + 1):
            objective.on_epoch({"epoch": epoch}, results(model=curve(lr, epoch)))
        return objective.best()

    run_and_record(study, trial, train)


def results(**values: float) -> Mapping[str, Any]:
    return {name: SimpleNamespace(metrics={"top1": value}) for name, value in values.items()}


class Launcher:
    """Runs jobs one after another; like Hydra's, it keeps their exceptions from the sweeper."""

    def __init__(
        self,
        tuning: Plan,
        curve: Curve = good,
        pruner: BasePruner | None = None,
        seconds: float = 0.0,
    ) -> None:
        self.rates: list[float] = []
        self.batches: list[Sequence[Sequence[str]]] = []
        self._tuning, self._curve, self._pruner = tuning, curve, pruner
        self._seconds = seconds

    def __call__(self, batch: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        self.batches.append(batch)
        for overrides in batch:
            given = dict(override.split("=", 1) for override in overrides)
            self.rates.append(float(given["optimizer.lr"]))
            with contextlib.suppress(Exception):
                time.sleep(self._seconds)
                number = int(given["trial"])
                run(self._tuning, number, self.rates[-1], self._curve, self._pruner)
        return silent(batch, first)


def silent(batch: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Return what a launcher returns of jobs of which it knows nothing more."""
    return [JobReturn() for _ in batch]


def started(tuning: Plan, *, controller: str) -> int:
    """Take a trial without launching it, and return its number."""
    study = study_of(tuning)
    study.create(
        direction=tuning.direction, objective=tuning.objective, invariants=tuning.invariants
    )
    trial = ask(study, RandomSampler, n_trials=tuning.n_trials, controller=controller)
    assert trial is not None
    for key, axis in tuning.space.items():
        axis.suggest(trial, key)
    return int(trial.number)
