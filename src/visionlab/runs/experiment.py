"""A run as typed, checked settings and parts, before any data is read."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from visionlab.engine.epoch_files import Checkpointing
from visionlab.engine.hparams import Evaluation, Hparams, Stop
from visionlab.engine.observers import Observer
from visionlab.engine.start import Start
from visionlab.optim.averaging import Averages
from visionlab.optim.plateau import TRAIN_LOSS, Plateau
from visionlab.optim.schedules import Schedule
from visionlab.runs.initial_weights import InitialWeights
from visionlab.task import Batch, Data, Metric

_TRAINING_INVARIANT = ("tensorboard", "save_predictions", "observers")
_COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
_NOT_OF_AVERAGES = (TRAIN_LOSS, "val/model/")


@dataclass(frozen=True, kw_only=True)
class TaskParts:
    """Parts of a task that need its data before they are whole; see `visionlab.task.Task`."""

    name: str
    monitor: str
    mode: Literal["max", "min"]
    extra_scalars: Callable[[Any, Any], Mapping[str, Tensor]]
    predict: Callable[[Any, Batch], Any]
    fuse: Callable[[Sequence[Any], Sequence[float]], Any] | None
    metric: Callable[..., Metric]
    draw: Callable[..., None]
    export: functools.partial[Any] | None
    compare: Callable[..., None] | None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and how a run computes; `config.schemas.Train` explains the settings."""

    device: str
    num_processes: int
    precision: str
    threads: int | None
    deterministic: bool
    compile: str | None
    channels_last: bool
    sync_batch_norm: bool

    def __post_init__(self) -> None:
        if self.num_processes < 1:
            raise ValueError(f"num_processes must be >= 1, got {self.num_processes}")
        if self.compile not in (None, *_COMPILE_MODES):
            modes = ", ".join(_COMPILE_MODES)
            raise ValueError(f"compile must be null or one of {modes}, got {self.compile!r}")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One run: its configuration and the parts that it asks for."""

    config: Mapping[str, Any]  # resolved; `config.yaml` and every checkpoint hold it
    seed: int
    machine: Machine
    task: TaskParts
    hparams: Hparams
    stop: Stop
    evaluation: Evaluation
    checkpoint: Checkpointing
    scheduler: Schedule
    averaged: Averages
    augment: Any
    loss: Callable[[Any, Any], Mapping[str, Tensor]]
    optimizer: Callable[[nn.Module], Optimizer]
    dataset: Callable[..., Data]
    model: Callable[..., nn.Module]
    initial_weights: InitialWeights
    start: Start
    tensorboard: bool
    save_predictions: bool
    observers: Mapping[str, Callable[..., Observer]]  # by name; built with the run's folder


def training_invariant_keys(experiment: Experiment) -> list[str]:
    """Return the settings that never influence training, so that runs can share a training.

    Each part names its own, as `training_invariant`. Those of averages count unless the training
    depends on the averages: a rule ends it when no model improves, or after a time, part of which
    goes into their validation, or a plateau monitors a metric of an average.
    """
    keys = [
        f"{part.name}.{key}"
        for part in fields(experiment)
        for key in getattr(getattr(experiment, part.name), "training_invariant", ())
    ]
    schedule, stop = experiment.scheduler, experiment.stop
    monitor = schedule.monitor if isinstance(schedule, Plateau) else TRAIN_LOSS
    if stop.patience_epochs or stop.max_minutes or not monitor.startswith(_NOT_OF_AVERAGES):
        keys = [key for key in keys if not key.startswith("averaged.")]
    return [*keys, *_TRAINING_INVARIANT]
