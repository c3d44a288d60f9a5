"""The parts of a run as recipes, which have checked their settings, and whether they fit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from visionlab.engine.distributed.data_parallel import check_division
from visionlab.engine.freezing import trained_parameters
from visionlab.engine.hparams import Evaluation, Hparams, Stop
from visionlab.engine.validation import named_models
from visionlab.optim.averaging import Average, Averages
from visionlab.optim.plateau import TRAIN_LOSS, Plateau
from visionlab.optim.schedules import Schedule
from visionlab.task import Data, Task

_RIDING = ("tensorboard", "save_predictions")  # of settings that belong to no part
_NOT_OF_AVERAGES = (TRAIN_LOSS, "val/model/")


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """The parts of a run as checked settings; no data was read for them."""

    hparams: Hparams
    stop: Stop
    evaluation: Evaluation
    scheduler: Schedule
    averaged: Averages
    augment: Any
    loss: Callable[[Any, Any], Mapping[str, Tensor]]
    optimizer: Callable[[nn.Module], Optimizer]
    dataset: Callable[..., Data]
    model: Callable[..., nn.Module]


def riding_keys(recipes: Recipes) -> list[str]:
    """Return the settings that do not change how a run trains, so that runs can share a training.

    Each part names its own, as `riding`. Averages ride, unless the training depends on them: a rule
    ends it when no model gets better, or after a time, of which their validation takes a part, or a
    plateau looks at a number of an average.
    """
    riding = [
        f"{part.name}.{key}"
        for part in fields(recipes)
        for key in getattr(getattr(recipes, part.name), "riding", ())
    ]
    monitor = recipes.scheduler.monitor if isinstance(recipes.scheduler, Plateau) else TRAIN_LOSS
    rules = recipes.stop.patience_epochs, recipes.stop.max_minutes
    if any(rules) or not monitor.startswith(_NOT_OF_AVERAGES):
        riding = [key for key in riding if not key.startswith("averaged.")]
    return [*riding, *_RIDING]


def check_combinations(
    recipes: Recipes, task: Task, averages: Sequence[Average], *, model_freeze: Sequence[str]
) -> None:
    """Refuse settings that are each in range and do not fit together, or not the task.

    Args:
        recipes: the parts.
        task: made of them.
        averages: that ride on its model.
        model_freeze: patterns of the names of parameters that are not trained.

    Raises:
        ValueError: the message names the key, the rule and the value.
    """
    patience, every = recipes.stop.patience_epochs, recipes.evaluation.every_epochs
    if patience and "val" not in task.splits:
        raise ValueError("stop.patience_epochs needs a validation part, got dataset.val.split=0")
    if patience and patience < every:
        raise ValueError(
            f"stop.patience_epochs must be >= evaluation.every_epochs {every}, got {patience}"
        )
    frozen_epochs = recipes.hparams.freeze_backbone_epochs
    for key, is_set in (
        ("model.freeze", model_freeze),
        ("hparams.freeze_backbone_epochs", frozen_epochs),
    ):
        if is_set and recipes.averaged.buffers == "recomputed":
            raise ValueError(
                f"averaged.buffers must be averaged or copied with {key}, got recomputed"
            )
    check_division(recipes.hparams, len(task.splits["train"]))
    if frozen_epochs:
        _check_backbone(task, frozen_epochs)
    _check_monitor(recipes.scheduler, task, averages)


def _check_backbone(task: Task, frozen_epochs: int) -> None:
    """Refuse to freeze a backbone that is not known, or is all that is trained."""
    if not task.backbone:
        rule = "0 for a model whose backbone is not known"
    elif len(trained_parameters(task.backbone)) == len(trained_parameters([task.model])):
        rule = "0 where model.freeze leaves only the backbone to train"
    else:
        return
    raise ValueError(f"hparams.freeze_backbone_epochs must be {rule}, got {frozen_epochs}")


def _check_monitor(schedule: Schedule, task: Task, averages: Sequence[Average]) -> None:
    """Refuse a plateau of a number that the run's metrics rows will not have."""
    if not isinstance(schedule, Plateau) or schedule.monitor == TRAIN_LOSS:
        return
    rule = TRAIN_LOSS
    if "val" in task.splits:
        models, numbers = named_models(task.model, averages), ("loss", *task.metric.names)
        if schedule.monitor in [f"val/{model}/{name}" for model in models for name in numbers]:
            return
        rule += f" or val/<model>/<number>, the model of {', '.join(models)}"
        rule += f", the number of {', '.join(numbers)}"
    raise ValueError(f"scheduler.monitor must be {rule}, got {schedule.monitor!r}")
