"""The configuration of a run: as it starts, as it goes on, and what may differ between the two."""

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

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
_MAX_NAMED = 3


def completed(config: DictConfig) -> DictConfig:
    """Return a copy of a composed configuration, resolved, without schema, with a seed in it."""
    plain = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    assert isinstance(plain, DictConfig)
    plain.pop(_OF_THE_SWEEP, None)
    if plain.global_seed is None:
        plain.global_seed = secrets.randbelow(2**31)
    return plain


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


def going_on(composed: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the settings with which a job of a sweep goes on in a folder.

    Args:
        composed: what the sweep asks for, resolved.
        folder: holds the run; its settings stay but for those that change no weight.

    Raises:
        ValueError: the sweep asks for other settings than the run has.
    """
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    saved: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    asked, has = _leaves(composed), _leaves(saved)
    changed = [
        f"{key}={asked.get(key, 'nothing')} (has {has.get(key, 'nothing')})"
        for key in asked | has
        if asked.get(key) != has.get(key)
        and not key.startswith((*FREE_ON_RESUME, f"{_OF_THE_SWEEP}."))
        and not (key in _LEFT_TO_THE_RUN and asked.get(key) is None)
    ]
    if changed:
        more = f" and {len(changed) - _MAX_NAMED} more" if len(changed) > _MAX_NAMED else ""
        raise ValueError(
            f"{folder} must be a run with the settings of the sweep, "
            f"got {', '.join(changed[:_MAX_NAMED])}{more}"
        )
    for key, value in asked.items():
        if key.startswith(FREE_ON_RESUME):
            _set(saved, key, value)
    return saved


def training_key(config: Mapping[str, Any], riding: Sequence[str]) -> str:
    """Return what runs must have in common to share a training: all settings but those riding."""
    return json.dumps(
        {key: value for key, value in _leaves(config).items() if not key.startswith(tuple(riding))},
        sort_keys=True,
    )


def _leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the settings by their dotted names; a list is one setting."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            leaves |= _leaves(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def _set(config: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for name in parents:
        config = config[name]
    config[last] = value
