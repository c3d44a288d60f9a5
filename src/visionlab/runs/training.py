"""A training and the runs that share it, built from their configurations and their checkpoints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.optim import Optimizer

from visionlab.backbones.weights import check_weights
from visionlab.config.run_config import check_trained_with
from visionlab.core.processes import rank
from visionlab.engine.checkpoints import LAST, Checkpoints, load_last, restore
from visionlab.engine.device import (
    Precision,
    choose_device,
    choose_precision,
    make_autocast,
    set_determinism,
    set_threads,
)
from visionlab.engine.distributed.collectives import broadcast_object
from visionlab.engine.distributed.data_parallel import prepare_model
from visionlab.engine.loop import steps_per_epoch
from visionlab.engine.shared_runs import Names, SharedCheckpoints, to_shared_names, unique_names
from visionlab.engine.state import TrainState
from visionlab.optim.averaging import Average
from visionlab.optim.phases import unreached
from visionlab.optim.plateau import PlateauTracker
from visionlab.runs.build import (
    bind_schedule,
    build_data,
    build_experiment,
    build_task,
    check_classes,
    snapshot_epochs,
)
from visionlab.runs.combinations import check_combinations
from visionlab.runs.experiment import Experiment, Machine
from visionlab.runs.first_batch import check_first_batch
from visionlab.runs.initial_weights import without_initial_weights
from visionlab.runs.samples import Samples, check_samples, describe_samples
from visionlab.task import Autocast, Data, Task


@dataclass(frozen=True, kw_only=True)
class Run:
    """One of the runs that share a training; most trainings have one."""

    folder: Path
    experiment: Experiment  # trains as those of the other runs
    averages: Mapping[str, Average]  # by the names that the run has for them
    snapshot_epochs: Sequence[int]  # after which it keeps snapshots

    @property
    def names(self) -> Names:
        """The training's names of the run's models, each with the run's own name."""
        return {"model": "model"} | {each.name: name for name, each in self.averages.items()}


class Components(NamedTuple):
    """The parts of a training, which fit each other; `averages` are those of each run."""

    task: Task
    optimizer: Optimizer
    schedule: Callable[[int], float]
    plateau: PlateauTracker
    averages: list[list[Average]]


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training, ready to continue from `state`."""

    runs: Sequence[Run]
    device: torch.device
    precision: Precision
    autocast: Autocast
    data: Data
    samples: Samples
    components: Components
    checkpoints: SharedCheckpoints
    state: TrainState

    @property
    def experiment(self) -> Experiment:
        """What is trained; runs differ at most in settings that never influence training."""
        return self.runs[0].experiment

    @property
    def task(self) -> Task:
        """The task of all runs."""
        return self.components.task

    @property
    def averages(self) -> list[Average]:
        """The averages of all runs."""
        return [average for run in self.runs for average in run.averages.values()]

    @property
    def total_steps(self) -> int:
        """The optimizer steps of the whole training."""
        return self.experiment.hparams.epochs * self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """The optimizer steps of an epoch."""
        return steps_per_epoch(self.task.splits["train"], self.experiment.hparams)

    @property
    def unreached_milestones(self) -> list[str]:
        """The milestones of the schedule beyond the end of the training."""
        return unreached(
            self.experiment.scheduler,
            total_steps=self.total_steps,
            steps_per_epoch=self.steps_per_epoch,
        )


def build_training(configs: Mapping[Path, Mapping[str, Any]], *, resumes: bool) -> Training:
    """Build everything a training needs.

    Args:
        configs: resolved, by the folder of the run; they differ at most in settings that never
            influence training.
        resumes: whether to continue from the last checkpoints, all of one step, if there are some.

    Raises:
        ValueError: a setting is out of range, or fits others badly.
        FileNotFoundError: data or weights are missing.
    """
    last = broadcast_object(
        lambda: [_load_last(*each) if resumes else None for each in configs.items()]
    )
    is_given_weights = last[0] is not None or rank() > 0  # by the checkpoint, or by rank 0
    given = map(without_initial_weights, configs.values()) if is_given_weights else configs.values()
    experiments = [build_experiment(config) for config in given]
    device, precision = prepare_machine(experiments[0].machine)
    data = build_data(experiments[0], device)
    samples = describe_samples(data)
    if last[0] is not None:
        check_classes(data, last[0]["class_names"])
        check_samples(samples, last[0].get("samples", samples))  # older checkpoints have none
    components = build_components(experiments, data, device)
    machine = {"threads": torch.get_num_threads(), "device": str(device), "precision": precision}
    runs = [
        Run(
            folder=folder,
            experiment=replace(experiment, config={**config, **machine}),
            averages=averages,
            snapshot_epochs=snapshot_epochs(experiment, components.task),
        )
        for (folder, config), experiment, averages in zip(
            configs.items(), experiments, unique_names(components.averages), strict=True
        )
    ]
    state = _restore(last, runs, components)
    if experiments[0].start.run:  # not after a resume, see `without_initial_weights`
        state = _start_from(experiments[0], runs, data, components)
    if experiments[0].machine.compile:
        components.task.model.compile(mode=experiments[0].machine.compile)
    return Training(
        runs=runs,
        device=device,
        precision=precision,
        autocast=make_autocast(precision, device),
        data=data,
        samples=samples,
        components=components,
        checkpoints=SharedCheckpoints(
            [(run.names, _checkpoints(run, data, samples)) for run in runs]
        ),
        state=state,
    )


def _load_last(folder: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the checkpoint from which a run resumes, whose settings are those of the run."""
    content = load_last(folder / "checkpoints")
    if content is not None:
        check_trained_with(config, content.get("config"), folder)
    return content


def prepare_machine(machine: Machine) -> tuple[torch.device, Precision]:
    """Set threads and determinism; return the device, and the precision of forward passes."""
    device = choose_device(machine.device)
    precision = choose_precision(machine.precision, device)
    set_threads(machine.threads)
    set_determinism(device, deterministic=machine.deterministic)
    return device, precision


def build_components(
    experiments: Sequence[Experiment], data: Data, device: torch.device
) -> Components:
    """Build the parts of a training on data that was read; the first experiment is trained.

    Raises:
        ValueError: settings fit each other, or the data, badly.
        FileNotFoundError: weights are missing.
    """
    first = experiments[0]
    task = build_task(first, data, device)
    check_first_batch(task, first.hparams, sync_batch_norm=first.machine.sync_batch_norm)
    prepare_model(task, sync_batch_norm=first.machine.sync_batch_norm)
    schedule, plateau = bind_schedule(first, task)
    optimizer = first.optimizer(task.model)
    averages = [each.averaged(task.evaluated) for each in experiments]
    if not isinstance(optimizer, Optimizer):
        raise ValueError(f"optimizer must make one of torch, got a {type(optimizer).__name__}")
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    for experiment, own in zip(experiments, averages, strict=True):
        check_combinations(experiment, task, own)
    return Components(task, optimizer, schedule, plateau, averages)


def _restore(
    last: Sequence[Mapping[str, Any] | None], runs: Sequence[Run], components: Components
) -> TrainState:
    """Restore what the checkpoints hold; return the state of the training."""
    state, task = TrainState(), components.task
    for content, run in zip(last, runs, strict=True):
        if content is not None:
            best = state.best
            try:
                state = restore(
                    content, model=task.model, optimizer=components.optimizer, averages=run.averages
                )
            except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
                path = run.folder / "checkpoints" / LAST
                raise ValueError(
                    f"{path} must hold the state of this run, got something else: {error!s:.200}"
                ) from error
            state.best = best | to_shared_names(state.best, run.names)
    return state


def _start_from(
    experiment: Experiment, runs: Sequence[Run], data: Data, components: Components
) -> TrainState:
    """Restore what comes along from another run; return the state to train from.

    Raises:
        FileNotFoundError: there is no such run, or it has no checkpoint.
        ValueError: it has other classes, another model or optimizer, or is too long.
    """
    folder, start = Path(experiment.start.run or "").expanduser(), experiment.start
    content = broadcast_object(lambda: load_last(folder / "checkpoints"))
    if content is None:
        raise FileNotFoundError(f"start.run must be the folder of a run, got {folder}")
    check_classes(data, content["class_names"])
    task, optimizer = components.task, components.optimizer
    check_weights(task.model, content["model"], origin=f"start.run {folder}")
    ours, theirs = (
        each["optimizer"]["_target_"] for each in (experiment.config, content["config"])
    )
    if start.with_optimizer and ours != theirs:
        raise ValueError(
            f"start.with_optimizer must be false for another optimizer than {theirs} of start.run, "
            f"got true for {ours}"
        )
    return start(
        content,
        model=task.model,
        optimizer=optimizer,
        averages={name: each for run in runs for name, each in run.averages.items()},
        steps_per_epoch=steps_per_epoch(task.splits["train"], experiment.hparams),
        epochs=experiment.hparams.epochs,
    )


def _checkpoints(run: Run, data: Data, samples: Samples) -> Checkpoints:
    experiment = run.experiment
    return Checkpoints(
        run.folder / "checkpoints",
        metadata={
            "config": dict(experiment.config),
            "class_names": list(data.class_names),
            "class_ids": list(data.class_ids),
            "samples": dict(samples),
        },
        settings=experiment.checkpoint,
        snapshot_epochs=run.snapshot_epochs,
    )
