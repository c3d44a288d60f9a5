"""Several runs on one training: each has averages of its own and keeps its own files.

An average never feeds back into training, so runs that differ only in their averages train alike.
The loop sees the averages of all runs at once, under names that are unique; what reaches a run's
observers and checkpoints bears the run's own names again, so a run's files are the same, bit for
bit, as if it had been alone.
"""

import copy
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
from visionlab.engine.validation import rename_models
from visionlab.optim.averaging import Average

Value = TypeVar("Value")
Names = Mapping[str, str]  # what the loop calls a run's models -> what the run calls them


def unique_names(averages: Sequence[Sequence[Average]]) -> list[dict[str, Average]]:
    """Rename averages so that no two have the same name; return those of each run by its names."""
    count: Counter[str] = Counter()
    by_own_name = []
    for to_run_names in averages:
        by_own_name.append({average.name: average for average in to_run_names})
        for average in to_run_names:
            count[average.name] += 1
            if count[average.name] > 1:
                average.name = f"{average.name}#{count[average.name]}"
    return by_own_name


def to_shared_names(values: Mapping[str, Value], names: Names) -> dict[str, Value]:
    """Return what a run knows of its models under the loop's names; see `to_run_names`."""
    return {ours: values[own] for ours, own in names.items() if own in values}


def to_run_names(values: Mapping[str, Value], names: Names) -> dict[str, Value]:
    """Return what the loop knows of a run's models under the run's names."""
    return {own: values[ours] for ours, own in names.items() if ours in values}


def saved_names(names: Names) -> Names:
    """Return the names under which a run's models and their best weights are saved."""
    return {**names, **{best_name(ours): best_name(own) for ours, own in names.items()}}


class SharedCheckpoints:
    """Writes the checkpoints of all runs of a training, one run after another.

    Args:
        runs: the names of each run's models, and its own checkpoints.
    """

    def __init__(self, runs: Sequence[tuple[Names, Checkpoints]]) -> None:
        self._runs = runs

    def due(self) -> bool:
        """Return whether `last.pt` of a run is older than it may be."""
        return any(checkpoints.due() for _, checkpoints in self._runs)

    def save_last(
        self,
        state: TrainState,
        model: nn.Module,
        optimizer: Optimizer,
        averages: Sequence[Average],
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
        """Write a model's weights for the runs whose model it is."""
        for names, checkpoints in self._runs:
            if name in saved_names(names):
                checkpoints.save_model(saved_names(names)[name], model, step=step)


class RunObserver:
    """Shows an observer of one run what concerns that run.

    Args:
        observer: of the run.
        names: of its models.
    """

    def __init__(self, observer: Observer, names: Names) -> None:
        self._observer = observer
        self._names = names

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        """Show the step."""
        self._observer.on_step(state, lr=lr, loss=loss, num_samples=num_samples)

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Show the run's part of the row and of the results."""
        self._observer.on_epoch(rename_models(row, self._names), to_run_names(results, self._names))

    def close(self) -> None:
        """Close the observer."""
        self._observer.close()


def _renamed(average: Average, name: str) -> Average:
    """Return an average that shares everything with another, but for its name."""
    renamed = copy.copy(average)
    renamed.name = name
    return renamed
