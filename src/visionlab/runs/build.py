"""From a configuration to objects: the only place that knows both.

Every part is first built as a recipe, a frozen dataclass that checks its settings; only then is
data read, and a model made to fit it.
"""

import copy
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from visionlab.backbones.weights import backbone_of, freeze, load_exactly, load_matching
from visionlab.config.run_config import built
from visionlab.core import seeding
from visionlab.engine.loop import steps_per_epoch
from visionlab.optim.plateau import Watch, watch_for
from visionlab.runs.combinations import Recipes
from visionlab.task import Data, Task

_MAX_NAMED = 10
_WEIGHT_KEYS = ("checkpoint", "init_from", "freeze")
# what the files of older runs do not say, and those runs did
_OF_OLDER_RUNS: dict[str, dict[str, Any]] = {
    "hparams": {"hard_examples": None, "freeze_backbone_epochs": 0}
}
_log = logging.getLogger(__name__)


def build_data(config: DictConfig, recipes: Recipes, device: torch.device) -> Data:
    """Read the data set."""
    return recipes.dataset(augmentation=recipes.augment, seed=config.global_seed, device=device)


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
    """Return how many classes there are, and what the first ones are called."""
    shown = ", ".join(class_names[:_MAX_NAMED])
    return f"{len(class_names)} ({shown}{', ...' if len(class_names) > _MAX_NAMED else ''})"


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


def _recipe(config: DictConfig, key: str) -> Any:
    """Build one part; the weights that go into a model are not part of its recipe."""
    settings = OmegaConf.to_container(config[key], resolve=True)
    assert isinstance(settings, dict)
    if key == "model":
        settings = {name: value for name, value in settings.items() if name not in _WEIGHT_KEYS}
    settings = _OF_OLDER_RUNS.get(key, {}) | settings
    # as the child of a parent, so that an error names the key
    return built(OmegaConf.create({key: settings})[key], _convert_="all")


def build_task(config: DictConfig, recipes: Recipes, data: Data, device: torch.device) -> Task:
    """Build the model that fits the data, and put the parts of the task together."""
    seeding.seed_everything(seeding.derive(config.global_seed, "model"))
    model = recipes.model(**data.sizes)
    if config.model.checkpoint:
        load_exactly(model, Path(config.model.checkpoint).expanduser())
    if config.model.init_from:
        left = load_matching(model, Path(config.model.init_from).expanduser())
        _log.info("model.init_from: took what fits; not taken: %s", "; ".join(left) or "nothing")
    freeze(model, config.model.freeze)
    model = model.to(device)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return Task(
        name=config.task.name,
        splits=data.splits,
        model=model,
        loss=recipes.loss,
        backbone=backbone_of(model),
        curves=built(config.task.curves),
        predict=built(config.task.predict),
        metric=built(config.task.metric, class_names=data.class_names, _convert_="all"),
        monitor=config.task.monitor,
        mode=config.task.mode,
        draw=built(config.task.draw, class_names=data.class_names, to_pixels=data.to_pixels),
        export=config.task.export and built(config.task.export, class_ids=data.class_ids),
    )


def without_first_weights(config: DictConfig) -> DictConfig:
    """Return a copy that builds a model without what it was started from: it is given weights."""
    changed = copy.deepcopy(config)
    changed.model.update(checkpoint=None, init_from=None)
    for part in (changed.model, changed.model.get("backbone", {})):
        part.update({key: False for key in part if key == "pretrained"})
        part.update({key: None for key in part if key == "init_from"})
    return changed


def bind_schedule(recipes: Recipes, task: Task) -> tuple[Callable[[int], float], Watch]:
    """Return the schedule as a function of the step, and what looks at the run for it.

    Raises:
        ValueError: it does not fit the run.
    """
    epoch_steps = steps_per_epoch(task.splits["train"], recipes.hparams)
    total_steps = recipes.hparams.epochs * epoch_steps
    bound = functools.partial(
        recipes.scheduler, total_steps=total_steps, steps_per_epoch=epoch_steps
    )
    try:
        bound(0)
        return bound, watch_for(
            recipes.scheduler,
            total_steps=total_steps,
            steps_per_epoch=epoch_steps,
            every_epochs=recipes.evaluation.every_epochs,
        )
    except ValueError as error:
        raise ValueError(f"scheduler.{error}") from error
