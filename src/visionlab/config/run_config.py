"""The configuration of a run: when it starts, when it resumes, and what may differ between the two.

Everything here works on plain containers; Hydra's are turned into them by `command_line.job`.
"""

import copy
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_omega_conf_dumper

from visionlab.config.overrides import as_typed
from visionlab.config.saved import check_extent, check_saved
from visionlab.files.run_folder import flatten_config, read_config, read_record


class _Dumper(get_omega_conf_dumper()):  # type: ignore[misc]
    """OmegaConf's dumper; its `to_yaml` would read `${` in a folder's name as an interpolation."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return whether to write containers out that occur twice: always."""
        return True


# the only settings that a resumed run may be given: no other leaves its course as it is
FREE_ON_RESUME = (
    "resume",
    "parts",
    "device",
    "num_processes",
    "stop.",
    "checkpoint.",
    "dataset.root",
    "dataset.num_workers",
    "tensorboard",
)
_OPEN = {"global_seed": None, "threads": None, "precision": "auto"}  # stand for the run's own
# paths that start from the folder in which one works; all others of a data set start from its root
_FROM_HERE = ("dataset.root", "dataset.val.list", "start.run")
_NOT_OF_RUN = ("sweep", "chain")
_HYDRA = "hydra/"
_MAX_CHANGES = 3
JobStatus = Literal["new", "started", "finished"]
_PARTS = ("model.", "optimizer.", "scheduler.", "averaged.", "hparams.")


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """How Hydra was called for one job."""

    folder: Path  # Hydra's output folder
    choices: Mapping[str, str]  # the file chosen for each group
    overrides: Sequence[str]  # as Hydra takes them
    options: Sequence[str] = ()  # `--config-dir`, if it was given

    @property
    def composition(self) -> dict[str, Any]:
        """How the configuration was composed, for `run.json`."""
        return {
            "choices": dict(self.choices),
            "overrides": list(map(as_typed, self.overrides)),
            "options": list(self.options),
        }


def invocation(hydra: Any, folder: Path) -> Invocation:
    """Return how Hydra was called, given its own settings and the output folder."""
    choices = {
        str(group): str(choice)
        for group, choice in hydra.runtime.choices.items()
        if choice is not None and not str(group).startswith(_HYDRA)
    }
    return Invocation(
        folder=folder,
        choices=choices,
        overrides=list(hydra.overrides.task),
        options=config_dir_options(hydra),
    )


def config_dir_options(hydra: Any) -> list[str]:
    """Return the `--config-dir` of the command line, given Hydra's own settings; or nothing."""
    sources = hydra.runtime.config_sources
    return [f"--config-dir={each.path}" for each in sources if each.provider == "command-line"]


def current_invocation() -> Invocation:
    """Return how Hydra was called for the job that this process is doing."""
    hydra = HydraConfig.get()
    return invocation(hydra, Path(hydra.runtime.output_dir))


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain containers, interpolations resolved."""
    settings: Any = OmegaConf.to_container(config, resolve=True)
    return dict(settings)


def compose_option(group: str, option: str, *, key: str) -> dict[str, Any]:
    """Return the settings of a file in a group, which the setting `key` names.

    Raises:
        ValueError: there is none; the message names those that are.
    """
    try:
        return plain(compose("train", overrides=[f"{group}={option}"])[group])
    except MissingConfigException as error:
        known = GlobalHydra.instance().config_loader().get_group_options(group)
        raise ValueError(f"{key} must be of {', '.join(known)}, got {option}") from error


def to_yaml(config: Mapping[str, Any]) -> str:
    """Return plain containers as YAML that keeps every type (infinity, whole-number keys)."""
    return str(yaml.dump(dict(config), Dumper=_Dumper, allow_unicode=True, sort_keys=False))


def resolve_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a new run: without those of sweep and chain, and with a seed.

    The data can then be found from any folder.
    """
    settings = {key: value for key, value in config.items() if key not in _NOT_OF_RUN}
    if settings["global_seed"] is None:
        settings["global_seed"] = secrets.randbelow(2**31)
    return _with_absolute_paths(settings)


def logged_hparams(config: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, float | str]:
    """Return the settings by which runs are compared, as numbers and texts.

    `choices` are the files chosen for groups.
    """
    own = {
        key: value
        for key, value in flatten_config(config).items()
        if key.startswith(_PARTS) and not key.endswith("_target_") and value is not None
    }
    settings = {**choices, **own, "global_seed": config["global_seed"]}
    return {
        key: value if type(value) in (int, float, str) else json.dumps(value)
        for key, value in settings.items()
    }


def parts_override(config: Mapping[str, Any]) -> list[str]:
    """Return what a command line for a run needs to allow its outside parts, or nothing."""
    return [f"parts=[{','.join(config['parts'])}]"] if config["parts"] else []


def override_saved_config(config: Mapping[str, Any], run: Invocation) -> dict[str, Any]:
    """Return the saved configuration of the run in a folder, with the overrides given now.

    Raises:
        ValueError: an override would change the course of the run, or it asks for a part that is
            not allowed now.
    """
    saved = _read_saved(run.folder, parts=config["parts"])
    given = flatten_config(config)
    for override in run.overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key == "dataset" and config[key]["_target_"] == saved[key]["_target_"]:
            continue  # the group is named so that its root may be
        if key == "task" and config[key]["name"] == saved[key]["name"]:
            continue
        if not key.startswith(FREE_ON_RESUME):
            raise ValueError(
                f"only these settings can change on resume: {', '.join(FREE_ON_RESUME)}, "
                f"got {override}"
            )
        _set(saved, key, given[key])
    return _with_absolute_paths(saved)


def _read_saved(folder: Path, *, parts: Sequence[str]) -> dict[str, Any]:
    saved = read_config(folder)
    check_saved(saved, origin=folder / "config.yaml", parts=parts)
    return saved


def resume_config(requested: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the settings with which a job of a sweep resumes the run in a folder.

    Those of the run stay, but for those that change no weight, which are as requested.

    Raises:
        ValueError: other settings are requested.
    """
    saved = _read_saved(folder, parts=requested["parts"])
    check_unchanged(requested, saved, folder)
    for key, value in flatten_config(requested).items():
        if key.startswith(FREE_ON_RESUME):
            _set(saved, key, value)
    return _with_absolute_paths(saved)


def check_unchanged(requested: Mapping[str, Any], saved: Mapping[str, Any], folder: Path) -> None:
    """Refuse to resume a run when other settings are requested than it has.

    Raises:
        ValueError: the message names the folder and the changes.
    """
    if changes := _changes(requested, saved):
        raise ValueError(
            f"{folder} must be a run with the requested settings, "
            f"got {_first(changes)}; choose another hydra.sweep.dir"
        )


def job_status(folder: Path, config: Mapping[str, Any]) -> JobStatus:
    """Return the status of a job of a multirun, or of a stage of a chain, in its folder.

    A run that a stopping rule ended is unfinished if the rules of the requested `config` differ.

    Raises:
        ValueError: the folder holds a run with other settings.
    """
    if not (folder / "config.yaml").exists():
        return "new"
    saved = read_config(folder)
    check_unchanged(config, saved, folder)
    record = read_record(folder)
    if record.get("status") != "finished":
        return "started"
    rules_changed = record.get("stopped") and saved["stop"] != config["stop"]
    return "started" if rules_changed else "finished"


def check_trained_with(config: Mapping[str, Any], trained: Any, folder: Path) -> None:
    """Refuse to resume a run whose `config.yaml` is not what its checkpoint was trained with.

    Raises:
        ValueError: the message names the file and the changes.
    """
    if not isinstance(trained, Mapping):
        raise ValueError(f"{folder}/checkpoints/last.pt must hold the settings of a run, got none")
    check_extent(trained)
    if changes := _changes(config, trained):
        raise ValueError(
            f"{folder / 'config.yaml'} must have the settings of checkpoints/last.pt, "
            f"got {_first(changes)}; undo the change, or start a new run with it"
        )


def _first(changes: Sequence[str]) -> str:
    more = f" and {len(changes) - _MAX_CHANGES} more" if len(changes) > _MAX_CHANGES else ""
    return f"{', '.join(changes[:_MAX_CHANGES])}{more}"


def _changes(requested: Mapping[str, Any], saved: Mapping[str, Any]) -> list[str]:
    """Return the settings in which a run differs from what is requested, and may not."""
    new, old = (flatten_config(_with_absolute_paths(each)) for each in (requested, saved))
    return [
        f"{key}={new.get(key, 'nothing')} (the run has {old.get(key, 'nothing')})"
        for key in new | old
        if new.get(key) != old.get(key)
        and not key.startswith((*FREE_ON_RESUME, *_NOT_OF_RUN))
        and not (key in _OPEN and new.get(key) == _OPEN[key])
    ]


def _with_absolute_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with absolute paths where they start from here; a URL stays."""
    found = copy.deepcopy(dict(settings))
    for dotted in _FROM_HERE:
        *parents, last = dotted.split(".")
        node: Any = found
        for name in parents:
            node = node.get(name) if isinstance(node, dict) else None
        path = node.get(last) if isinstance(node, dict) else None
        if isinstance(path, str) and path and "://" not in path:
            node[last] = str(Path(path).expanduser().absolute())
    return found


def training_key(config: Mapping[str, Any], training_invariant: Sequence[str]) -> str:
    """Return what runs must have in common to share a training: all settings that influence it."""
    ignored, flat = tuple(training_invariant), flatten_config(config)
    kept = {key: value for key, value in flat.items() if not key.startswith(ignored)}
    return json.dumps(kept, sort_keys=True)


def _set(config: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for name in parents:
        config = config[name]
    config[last] = value
