"""A training and the runs that share it, from their configurations and their checkpoints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch.optim import Optimizer

from visionlab.engine.checkpoints import Checkpoints, load_last, restore
from visionlab.engine.device import choose_device, make_autocast, make_deterministic, set_threads
from visionlab.engine.distributed.collectives import from_first
from visionlab.engine.distributed.data_parallel import prepare
from visionlab.engine.loop import steps_per_epoch
from visionlab.engine.shared_runs import Names, SharedCheckpoints, under_names, unique_names
from visionlab.engine.state import TrainState
from visionlab.optim.averaging import Average
from visionlab.optim.plateau import Watch
from visionlab.runs.build import (
    bind_schedule,
    build_data,
    build_recipes,
    build_task,
    check_classes,
    without_first_weights,
)
from visionlab.runs.combinations import Recipes, check_combinations
from visionlab.task import Autocast, Data, Task


@dataclass(frozen=True, kw_only=True)
class Run:
    """One of the runs that share a training; most trainings have one.

    Attributes:
        folder: of the run.
        config: resolved.
        recipes: the parts it asks for; those of all runs train alike.
        averages: by the names that the run has for them.
    """

    folder: Path
    config: DictConfig
    recipes: Recipes
    averages: Mapping[str, Average]

    @property
    def names(self) -> Names:
        """What the training calls the run's models, and what the run calls them."""
        return {"model": "model"} | {each.name: name for name, each in self.averages.items()}


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training, ready to go on from `state`."""

    runs: Sequence[Run]
    recipes: Recipes
    device: torch.device
    autocast: Autocast
    data: Data
    task: Task
    optimizer: Optimizer
    schedule: Callable[[int], float]
    watch: Watch
    checkpoints: SharedCheckpoints
    state: TrainState

    @property
    def seed(self) -> int:
        """The seed of everything random."""
        return int(self.runs[0].config.global_seed)

    @property
    def averages(self) -> list[Average]:
        """The averages of all runs."""
        return [average for run in self.runs for average in run.averages.values()]

    @property
    def total_steps(self) -> int:
        """The steps of the whole training."""
        hparams = self.recipes.hparams
        return hparams.epochs * steps_per_epoch(self.task.splits["train"], hparams)


def build_training(configs: Mapping[Path, DictConfig], *, going_on: bool) -> Training:
    """Build everything a training needs.

    Args:
        configs: resolved, by the folder of the run; they differ at most in what rides along. What
            the machine decides is written into them.
        going_on: whether to go on from the last checkpoints, all of one step, where there are some.

    Raises:
        ValueError: a setting is missing, out of range, or fits others badly.
        FileNotFoundError: data or weights are missing.
    """
    last = from_first(
        lambda: [load_last(folder / "checkpoints") if going_on else None for folder in configs]
    )
    config = next(iter(configs.values()))
    recipes = [build_recipes(each) for each in configs.values()]
    device, autocast = prepare_machine(config)
    for each in configs.values():
        each.threads, each.device = torch.get_num_threads(), str(device)
    data = build_data(config, recipes[0], device)
    if last[0] is not None:
        check_classes(data, last[0]["class_names"])
    parts = config if last[0] is None else without_first_weights(config)
    task, optimizer, schedule, watch, averages = put_together(parts, recipes, data, device)
    runs = [
        Run(folder=folder, config=settings, recipes=asked, averages=riding)
        for (folder, settings), asked, riding in zip(
            configs.items(), recipes, unique_names(averages), strict=True
        )
    ]
    state = _restored(last, runs, task, optimizer)
    if config.compile:
        task.model.compile()
    return Training(
        runs=runs,
        recipes=recipes[0],
        device=device,
        autocast=autocast,
        data=data,
        task=task,
        optimizer=optimizer,
        schedule=schedule,
        watch=watch,
        checkpoints=SharedCheckpoints([(run.names, _checkpoints(run, data)) for run in runs]),
        state=state,
    )


class Together(NamedTuple):
    """The parts of a training, which fit each other; `averages` are those of each run."""

    task: Task
    optimizer: Optimizer
    schedule: Callable[[int], float]
    watch: Watch
    averages: list[list[Average]]


def put_together(
    config: DictConfig, recipes: Sequence[Recipes], data: Data, device: torch.device
) -> Together:
    """Build the parts of a training on data that was read.

    Args:
        config: resolved.
        recipes: of all runs; the first one's are trained.
        data: to train on.
        device: where.

    Raises:
        ValueError: settings fit each other badly, or the data.
        FileNotFoundError: weights are missing.
    """
    task = build_task(config, recipes[0], data, device)
    prepare(task.model, sync_batch_norm=config.get("sync_batch_norm", True))  # not in older runs
    schedule, watch = bind_schedule(recipes[0], task)
    optimizer = recipes[0].optimizer(task.model)
    averages = [each.averaged(task.model) for each in recipes]
    for asked, riding in zip(recipes, averages, strict=True):
        check_combinations(asked, task, riding, model_freeze=config.model.freeze)
    return Together(task, optimizer, schedule, watch, averages)


def prepare_machine(config: DictConfig) -> tuple[torch.device, Autocast]:
    """Set threads and determinism; return the device and what makes the forward context."""
    device = choose_device(config.device)
    autocast = make_autocast(config.precision, device)
    if config.global_seed < 0:
        raise ValueError(f"global_seed must be >= 0 or null, got {config.global_seed}")
    set_threads(config.threads)
    make_deterministic(device)
    return device, autocast


def _restored(
    last: Sequence[Mapping[str, Any] | None],
    runs: Sequence[Run],
    task: Task,
    optimizer: Optimizer,
) -> TrainState:
    """Put back what the checkpoints hold; return where the training is."""
    state = TrainState()
    for content, run in zip(last, runs, strict=True):
        if content is not None:
            best = state.best
            state = restore(content, model=task.model, optimizer=optimizer, averages=run.averages)
            state.best = best | under_names(state.best, run.names)
    return state


def _checkpoints(run: Run, data: Data) -> Checkpoints:
    about = {
        "config": OmegaConf.to_container(run.config),
        "class_names": list(data.class_names),
    }
    return Checkpoints(
        run.folder / "checkpoints", about=about, every_minutes=run.config.checkpoint.every_minutes
    )
