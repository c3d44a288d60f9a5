"""Several runs that share one training, each with its own averages and files.

Averages never feed back into training, so runs that differ only in them train identically. The loop
tracks the averages of all runs under unique shared names. Observers and checkpoints of a run use
its own names, so its files are bit-identical to those of a separate run.
"""

import copy
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from visionlab.engine.checkpoints import Checkpoints, best_name
from visionlab.engine.evaluation import Result
from visionlab.engine.observers import Observer
from visionlab.engine.state import TrainState
from visionlab.optim.averaging import Average

Value = TypeVar("Value")
Names = Mapping[str, str]  # of a run's models: shared name -> name in the run
_MODEL_KEY = re.compile(r"(norm/(?:model_minus_)?|val/|best/)(?P<name>[^/]+)((?:/.*)?)")


def unique_names(averages: Sequence[Sequence[Average]]) -> list[dict[str, Average]]:
    """Give averages unique names in place; return those of each run by their names in the run."""
    count: Counter[str] = Counter()
    by_run_name = []
    for run_averages in averages:
        by_run_name.append({average.name: average for average in run_averages})
        for average in run_averages:
            count[average.name] += 1
            if count[average.name] > 1:
                average.name = f"{average.name}#{count[average.name]}"
    return by_run_name


def to_shared_names(values: Mapping[str, Value], names: Names) -> dict[str, Value]:
    """Map values keyed by a run's names to shared names; the inverse of `to_run_names`."""
    return {shared: values[own] for shared, own in names.items() if own in values}


def to_run_names(values: Mapping[str, Value], names: Names) -> dict[str, Value]:
    """Select the values of a run's models and map shared names to the run's names."""
    return {own: values[shared] for shared, own in names.items() if shared in values}


def saved_names(names: Names) -> Names:
    """Return the names of a run's saved models, best weights included."""
    return {**names, **{best_name(shared): best_name(own) for shared, own in names.items()}}


class SharedCheckpoints:
    """Writes the checkpoints of all runs of a training, one run after another."""

    def __init__(self, runs: Sequence[tuple[Names, Checkpoints]]) -> None:
        self._runs = runs

    def due(self) -> bool:
        """Return whether `last.pt` of any run is due."""
        return any(checkpoints.due() for _, checkpoints in self._runs)

    def save_last(
        self, state: TrainState, model: nn.Module, optimizer: Optimizer, averages: Sequence[Average]
    ) -> None:
        """Write `last.pt` of every run; see `Checkpoints.save_last`."""
        for names, checkpoints in self._runs:
            checkpoints.save_last(
                replace(state, best=to_run_names(state.best, names)),
                model,
                optimizer,
                [_renamed(each, names[each.name]) for each in averages if each.name in names],
            )

    def save_model(self, name: str, model: nn.Module, *, step: int) -> None:
        """Write a model's weights for the runs that have this model."""
        for names, checkpoints in self._runs:
            if name in saved_names(names):
                checkpoints.save_model(saved_names(names)[name], model, step=step)

    def save_epoch(
        self, name: str, model: nn.Module, *, epoch: int, step: int, score: float | None
    ) -> None:
        """Write a model's weights after an epoch for the runs that have this model."""
        for names, checkpoints in self._runs:
            if name in names:
                checkpoints.save_epoch(names[name], model, epoch=epoch, step=step, score=score)


CheckpointWriter = Checkpoints | SharedCheckpoints


class RunObserver:
    """Passes to an observer of one run only what concerns that run."""

    def __init__(self, observer: Observer, names: Names) -> None:
        self._observer = observer
        self._names = names

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        """Pass on the step."""
        self._observer.on_step(state, lr=lr, loss=loss, num_samples=num_samples)

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Pass on the run's part of the row and of the results."""
        self._observer.on_epoch(
            _rename_models(row, self._names), to_run_names(results, self._names)
        )

    def close(self) -> None:
        """Close the observer."""
        self._observer.close()


def _rename_models(row: Mapping[str, float], names: Names) -> dict[str, float]:
    """Rename the models in the keys of a metrics row and drop the keys of other models."""
    renamed = {}
    for key, value in row.items():
        match = _MODEL_KEY.fullmatch(key)
        if match is None:
            renamed[key] = value
        elif match["name"] in names:
            renamed[match[1] + names[match["name"]] + match[3]] = value
    return renamed


def _renamed(average: Average, name: str) -> Average:
    renamed = copy.copy(average)
    renamed.name = name
    return renamed
