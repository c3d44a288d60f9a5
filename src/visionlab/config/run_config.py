"""The configuration of a run: as it starts, as it goes on, and what may differ between the two."""

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from visionlab.files.run_folder import leaves, read_config

# what a resumed run may be given: nothing else changes how it goes on
FREE_ON_RESUME = (
    "resume",
    "device",
    "stop.",
    "checkpoint.",
    "dataset.root",
    "dataset.num_workers",
    "tensorboard",
)
_LEFT_TO_THE_RUN = ("global_seed", "threads")  # null says: the run's own
_OF_THE_SWEEP = "sweep"
_OF_HYDRA = "hydra/"
_MAX_CHANGES = 3
# Hydra 1.4 wants to be told what it may build
_FREE = getattr(hydra.utils, "UNSAFE_DISABLE_EXECUTION_CHECKS", None)
_ANYTHING = {} if _FREE is None else {"_execution_whitelist_": _FREE}
_OF_PARTS = ("model.", "optimizer.", "scheduler.", "averaged.", "hparams.")
_HOW_BUILT = ("_target_", "_partial_")


def completed(config: DictConfig) -> DictConfig:
    """Return a copy of a composed configuration, resolved, without schema, with a seed in it."""
    plain = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    assert isinstance(plain, DictConfig)
    plain.pop(_OF_THE_SWEEP, None)
    if plain.global_seed is None:
        plain.global_seed = secrets.randbelow(2**31)
    return plain


def built(settings: Any, **arguments: Any) -> Any:
    """Build what settings name as `_target_`: any part, also one that visionlab does not know."""
    return instantiate(settings, **_ANYTHING, **arguments)


def composition(hydra: Any) -> dict[str, Any]:
    """Return how Hydra composed a configuration, given its own settings, for run.json.

    `choices` has the file that was chosen for each group, `overrides` what the command line said.
    """
    choices = {
        str(group): choice
        for group, choice in hydra.runtime.choices.items()
        if choice is not None and not str(group).startswith(_OF_HYDRA)
    }
    return {"choices": choices, "overrides": list(hydra.overrides.task)}


def compared(config: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, float | str]:
    """Return the settings by which a run is compared with others, numbers and texts.

    Args:
        config: of the run, resolved.
        choices: the file that was chosen for each group.
    """
    own = {
        key: value
        for key, value in leaves(config).items()
        if key.startswith(_OF_PARTS) and not key.endswith(_HOW_BUILT) and value is not None
    }
    settings = {**choices, **own, "global_seed": config["global_seed"]}
    return {
        key: value if type(value) in (int, float, str) else json.dumps(value)
        for key, value in settings.items()
    }


def resumed(config: DictConfig, folder: Path) -> DictConfig:
    """Return the configuration of the run in `folder`, with the overrides that change no weight.

    Raises:
        ValueError: an override would change how the run goes on.
    """
    saved = OmegaConf.load(folder / "config.yaml")
    assert isinstance(saved, DictConfig)
    for override in HydraConfig.get().overrides.task:
        key = override.lstrip("+~").partition("=")[0]
        if key == "dataset" and config.dataset._target_ == saved.dataset._target_:
            continue  # the group is named so that its root may be
        if key == "task" and config.task.name == saved.task.name:
            continue
        if not key.startswith(FREE_ON_RESUME):
            raise ValueError(
                f"a resumed run keeps its settings but for {', '.join(FREE_ON_RESUME)}, "
                f"got {override}"
            )
        OmegaConf.update(saved, key, OmegaConf.select(config, key))
    return saved


def going_on(asked: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the settings with which a job of a sweep goes on in a folder.

    Args:
        asked: by the sweep, resolved.
        folder: holds the run; its settings stay but for those that change no weight.

    Raises:
        ValueError: other settings are asked for.
    """
    saved = read_config(folder)
    check_unchanged(asked, saved, folder)
    for key, value in leaves(asked).items():
        if key.startswith(FREE_ON_RESUME):
            _set(saved, key, value)
    return saved


def check_unchanged(asked: Mapping[str, Any], saved: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on with a run when other settings are asked for than it has.

    Raises:
        ValueError: the message names the folder and what has changed.
    """
    if found := _changes(asked, saved):
        more = f" and {len(found) - _MAX_CHANGES} more" if len(found) > _MAX_CHANGES else ""
        raise ValueError(
            f"{folder} must be a run with the settings that are asked for, "
            f"got {', '.join(found[:_MAX_CHANGES])}{more}; take another hydra.sweep.dir"
        )


def _changes(asked: Mapping[str, Any], saved: Mapping[str, Any]) -> list[str]:
    """Return the settings in which a run differs from what is asked for, and may not."""
    new, old = leaves(asked), leaves(saved)
    return [
        f"{key}={new.get(key, 'nothing')} (it has {old.get(key, 'nothing')})"
        for key in new | old
        if new.get(key) != old.get(key)
        and not key.startswith(FREE_ON_RESUME)
        and not (key in _LEFT_TO_THE_RUN and new.get(key) is None)
    ]


def resolved(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain containers."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != _OF_THE_SWEEP}


def training_key(config: Mapping[str, Any], riding: Sequence[str]) -> str:
    """Return what runs must have in common to share a training: all settings but those riding."""
    return json.dumps(
        {key: value for key, value in leaves(config).items() if not key.startswith(tuple(riding))},
        sort_keys=True,
    )


def _set(config: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for name in parents:
        config = config[name]
    config[last] = value
