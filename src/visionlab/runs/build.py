"""From a configuration to an experiment, and from an experiment to a task.

Every part is first built as checked settings; only then is data read, and a model made to fit it.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from visionlab.backbones.weights import backbone_of, freeze
from visionlab.config.instantiate import bind_part, call_with_key, instantiate_part
from visionlab.core import seeding
from visionlab.engine.loop import steps_per_epoch
from visionlab.engine.observers import check_observer
from visionlab.optim.phases import cycle_ends
from visionlab.optim.plateau import PlateauTracker, make_plateau_tracker
from visionlab.runs.experiment import Experiment, Machine, TaskParts
from visionlab.runs.initial_weights import load_initial_weights, split_model
from visionlab.runs.roles import check_outputs, check_role
from visionlab.task import Data, Task, evaluated_module

_MAX_NAMED = 10
_TASKS = "visionlab.tasks."
_PARTS = (
    *("hparams", "stop", "evaluation", "start", "checkpoint"),  # quick ones first
    *("scheduler", "averaged"),
    *("optimizer", "augment", "loss", "dataset"),
)
_TASK_PARTS = ("extra_scalars", "predict", "fuse", "metric", "draw", "compare")


def build_experiment(config: Mapping[str, Any]) -> Experiment:
    """Build the experiment that a resolved, checked configuration describes; read no data.

    Raises:
        ValueError: a setting is out of range, or a part is one for another task.
    """
    check_tasks(config)
    if config["global_seed"] < 0:
        raise ValueError(f"global_seed must be >= 0 or null, got {config['global_seed']}")
    model, weights = split_model(config["model"])
    parts = {key: instantiate_part(config[key], key=key) for key in _PARTS}
    for key, part in parts.items():
        check_role(part, key=key, target=config[key]["_target_"])
    task = _task_parts(config["task"])
    check_outputs(
        bind_part(model, key="model").func,
        {"loss": parts["loss"], "task.predict": task.predict}
        | {"task.extra_scalars": task.extra_scalars},
    )
    experiment = Experiment(
        config=config,
        seed=config["global_seed"],
        machine=Machine(**{field.name: config[field.name] for field in fields(Machine)}),
        task=task,
        model=_model(model),
        initial_weights=weights,
        tensorboard=config["tensorboard"],
        save_predictions=config["save_predictions"],
        observers={
            name: _observer(settings, key=f"observers.{name}")
            for name, settings in config["observers"].items()
        },
        **parts,
    )
    _check_hard_examples(experiment)
    return experiment


def check_tasks(config: Mapping[str, Any]) -> None:
    """Refuse visionlab's parts of one task in a run of another; parts from outside fit any.

    Raises:
        ValueError: a part is one for another task.
    """
    name = config["task"]["name"]
    parts = {key: config[key] for key in ("dataset", "augment", "model", "loss")}
    parts |= {f"task.{key}": config["task"][key] for key in ("fuse", "compare")}
    for key, part in parts.items():
        if isinstance(part, Mapping):
            check_task(str(part.get("_target_")), name, key=key)


def check_task(path: str, name: str, *, key: str) -> None:
    """Refuse a part of visionlab, by its dotted path, that is for another task than `name`.

    Raises:
        ValueError: it is.
    """
    if path.startswith(_TASKS) and not path.startswith(f"{_TASKS}{name}."):
        other, _, part = path.removeprefix(_TASKS).partition(".")
        part = part.rpartition(".")[2]
        raise ValueError(f"{key} must be one for task {name}, got {part}, which is for {other}")


def _task_parts(settings: Mapping[str, Any]) -> TaskParts:
    """Build the parts of a task that can be built without its data, and bind the others."""
    parts = {name: settings[name] for name in ("name", "monitor", "mode")}
    for name in ("extra_scalars", "predict", "fuse", "compare"):
        parts[name] = settings[name] and instantiate_part(settings[name], key=f"task.{name}")
    for name in ("metric", "draw", "export"):
        parts[name] = settings[name] and bind_part(settings[name], key=f"task.{name}")
    for name in _TASK_PARTS:
        if parts[name] is not None:
            check_role(parts[name], key=f"task.{name}", target=settings[name]["_target_"])
    return TaskParts(**parts)


def _model(settings: Mapping[str, Any]) -> Callable[..., nn.Module]:
    """Return what makes the model when called with what its data says, as `num_classes`.

    That is an instance of a class of settings, which has checked them, or any function or class
    that returns an `nn.Module`.
    """
    part = bind_part(settings, key="model")
    is_settings = inspect.isclass(part.func) and not issubclass(part.func, nn.Module)
    return call_with_key(part, key="model") if is_settings else part


def _observer(settings: Any, *, key: str) -> functools.partial[Any]:
    """Return what makes an observer when called with the run's folder; check what is known of it.

    That is its class, which a function may name as the type that it returns.
    """
    part = bind_part(settings, key=key)
    made = part.func
    if not inspect.isclass(made):
        made = inspect.get_annotations(made).get("return", Any)
    if made is None or (inspect.isclass(made) and made not in (Any, object)):
        check_observer(made, key=key)
    check_role(part, key=key, target=settings["_target_"])
    return part


def _check_hard_examples(experiment: Experiment) -> None:
    band = experiment.hparams.hard_examples
    if band is not None and not getattr(experiment.loss, "is_per_sample", False):
        raise ValueError(
            "hparams.hard_examples must be null for a loss that is not per sample, "
            f"got {list(band)}"
        )


def set_dataset_root(config: Mapping[str, Any], root: str | None) -> None:
    """Change where the data of a run is now, unless `root` is None.

    Raises:
        ValueError: the data set of the run has no root.
    """
    if root is not None:
        if "root" not in config["dataset"]:
            raise ValueError(f"dataset.root must belong to the run's data set, got {root}")
        config["dataset"]["root"] = root


def build_data(experiment: Experiment, device: torch.device) -> Data:
    """Read the data set."""
    return experiment.dataset(augmentation=experiment.augment, seed=experiment.seed, device=device)


def check_classes(data: Data, class_names: Sequence[str]) -> None:
    """Refuse data whose classes are not those of a run.

    Raises:
        ValueError: there are more or fewer classes, or others.
    """
    if list(data.class_names) != list(class_names):
        raise ValueError(
            f"dataset must have the run's classes, {_named(class_names)}, "
            f"got {_named(data.class_names)}"
        )


def _named(class_names: Sequence[str]) -> str:
    """Return the number of classes and the names of the first ones."""
    shown = ", ".join(class_names[:_MAX_NAMED])
    return f"{len(class_names)} ({shown}{', ...' if len(class_names) > _MAX_NAMED else ''})"


def build_task(experiment: Experiment, data: Data, device: torch.device) -> Task:
    """Build the model that fits the data, and the task around it."""
    parts, names = experiment.task, data.class_names
    seeding.seed_everything(seeding.derive(experiment.seed, "model"))
    model = _call_model(experiment.model, data.sizes)
    loaded = load_initial_weights(model, experiment.initial_weights)
    frozen_norms = freeze(model, experiment.initial_weights.freeze)
    model = _placed(model, experiment, device)
    return Task(
        name=parts.name,
        splits=data.splits,
        model=model,
        loss=experiment.loss,
        backbone=backbone_of(model),
        extra_scalars=parts.extra_scalars,
        predict=parts.predict,
        fuse=parts.fuse,
        metric=call_with_key(parts.metric, key="task.metric", class_names=names),
        monitor=parts.monitor,
        mode=parts.mode,
        draw=functools.partial(parts.draw, class_names=names, to_pixels=data.to_pixels),
        export=parts.export and _exporter(parts.export, data),
        compare=parts.compare and functools.partial(parts.compare, class_names=names),
        frozen_norms=frozen_norms,
        initial_weights=loaded,
    )


def build_evaluated(
    experiment: Experiment, sizes: Mapping[str, Any], device: torch.device
) -> nn.Module:
    """Build the module of a model that is evaluated, for data of some sizes."""
    return _placed(evaluated_module(_call_model(experiment.model, sizes)), experiment, device)


def _placed(model: nn.Module, experiment: Experiment, device: torch.device) -> nn.Module:
    """Return a model on a device, in the memory order of a run."""
    model = model.to(device)
    if experiment.machine.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model


def _exporter(part: functools.partial[Any], data: Data) -> Callable[..., Path]:
    categories = dict(zip(data.class_ids, data.class_names, strict=True))
    if inspect.isclass(part.func):
        return call_with_key(part, key="task.export", categories=categories)  # type: ignore[no-any-return]
    return functools.partial(part, categories=categories)


def _call_model(make: Callable[..., Any], sizes: Mapping[str, int]) -> nn.Module:
    """Make a model for data of some sizes.

    Raises:
        ValueError: it does not take the sizes, or is no `nn.Module`.
    """
    try:
        inspect.signature(make).bind(**sizes)
    except TypeError as error:
        raise ValueError(f"model must take the data's {', '.join(sizes)}: {error}") from error
    model = make(**sizes)
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must return an nn.Module, got {type(model).__name__}")
    return model


def bind_schedule(
    experiment: Experiment, task: Task
) -> tuple[Callable[[int], float], PlateauTracker]:
    """Return the schedule as a function of the step, and its plateau tracker.

    Raises:
        ValueError: it does not fit the run.
    """
    epoch_steps = steps_per_epoch(task.splits["train"], experiment.hparams)
    total_steps = experiment.hparams.epochs * epoch_steps
    schedule = functools.partial(
        experiment.scheduler, total_steps=total_steps, steps_per_epoch=epoch_steps
    )
    try:
        schedule(0)
        plateau = make_plateau_tracker(
            experiment.scheduler,
            total_steps=total_steps,
            steps_per_epoch=epoch_steps,
            every_epochs=experiment.evaluation.every_epochs,
        )
    except ValueError as error:
        raise ValueError(f"scheduler.{error}") from error
    return schedule, plateau


def snapshot_epochs(experiment: Experiment, task: Task) -> list[int]:
    """Return the epochs, ascending, after which a run keeps snapshots.

    Raises:
        ValueError: it is to keep some, and there is no such epoch.
    """
    epochs = experiment.hparams.epochs
    epoch_steps = steps_per_epoch(task.splits["train"], experiment.hparams)
    return experiment.checkpoint.snapshot_epochs(
        epochs=epochs,
        cycle_ends=cycle_ends(
            experiment.scheduler, total_steps=epochs * epoch_steps, steps_per_epoch=epoch_steps
        ),
        steps_per_epoch=epoch_steps,
    )
