"""The parts of a run as recipes, which check their settings without data, and how they fit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.optim import Optimizer

from visionlab.averaging import Average, Averages
from visionlab.engine.freezing import trained_parameters
from visionlab.engine.plan import Evaluation, Hparams, Stop
from visionlab.engine.validation import named_models
from visionlab.plateau import TRAIN_LOSS, Plateau
from visionlab.schedules import Schedule
from visionlab.task import Data, Task

_WEIGHT_KEYS = ("checkpoint", "init_from", "freeze")
# what the files of older runs do not say, and those runs did
_OF_OLDER_RUNS: dict[str, dict[str, Any]] = {
    "hparams": {"hard_examples": None, "freeze_backbone_epochs": 0}
}


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


def build_recipes(config: DictConfig) -> Recipes:
    """Build the parts whose settings can be checked before data is read, the quick ones first."""
    recipes = Recipes(**{field.name: _recipe(config, field.name) for field in fields(Recipes)})
    for key in ("dataset", "augment", "model", "loss"):
        recipe = getattr(recipes, key)
        if recipe.task != config.task.name:
            raise ValueError(
                f"{key} must be one for task {config.task.name}, "
                f"got {type(recipe).__name__}, which is for {recipe.task}"
            )
    band = recipes.hparams.hard_examples
    if band is not None and not recipes.loss.is_per_sample:  # type: ignore[attr-defined]
        raise ValueError(
            "hparams.hard_examples must be null for a loss that is not per sample, "
            f"got {list(band)}"
        )
    return recipes


def check_combinations(
    config: DictConfig, recipes: Recipes, task: Task, averages: Sequence[Average]
) -> None:
    """Refuse settings that are each in range and do not fit together, or not the task.

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
        ("model.freeze", config.model.freeze),
        ("hparams.freeze_backbone_epochs", frozen_epochs),
    ):
        if is_set and recipes.averaged.buffers == "recomputed":
            raise ValueError(
                f"averaged.buffers must be averaged or copied with {key}, got recomputed"
            )
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


def _recipe(config: DictConfig, key: str) -> Any:
    """Build one part; the weights that go into a model are not part of its recipe."""
    settings = OmegaConf.to_container(config[key], resolve=True)
    assert isinstance(settings, dict)
    if key == "model":
        settings = {name: value for name, value in settings.items() if name not in _WEIGHT_KEYS}
    settings = _OF_OLDER_RUNS.get(key, {}) | settings
    # as the child of a parent, so that an error names the key
    return instantiate(OmegaConf.create({key: settings})[key], _convert_="all")
