"""Checks of configurations that a run folder, a checkpoint or a plan brings, whoever sent it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from visionlab.config.checking import check_parts
from visionlab.config.hints import describe, is_part, matches
from visionlab.config.schemas import Task, Train
from visionlab.files.run_folder import read_config

_MAX_VALUES = 100_000
_MAX_DEPTH = 50
_NOT_SAVED = ("sweep", "resume", "chain")
_PARTS = (
    *("dataset", "augment", "model", "loss", "optimizer", "scheduler", "averaged"),
    *("hparams", "stop", "evaluation", "start", "checkpoint"),
)
_TASK_PARTS = ("extra_scalars", "predict", "metric", "draw")


def check_saved(config: Any, *, origin: Path, parts: Sequence[str]) -> None:
    """Check a configuration from the file `origin`, as `check_parts` does a composed one.

    `parts` are the packages that the user allows now; the configuration has no say in it.

    Raises:
        ValueError: it is none of a run, or asks for a part that is not allowed.
    """
    try:
        check_extent(config)
        _check_form(config)
        check_parts(config, parts=parts)
    except ValueError as error:
        raise ValueError(f"{origin}: {error!s:.500}") from error


def saved_task(run: str) -> str:
    """Return the name of the task of the run in a folder, which is fit for a folder's name.

    Raises:
        FileNotFoundError: it is not the folder of a run.
        ValueError: its `config.yaml` is damaged.
    """
    path = Path(run).expanduser() / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"run must be the folder of a run, got {run}")
    task = read_config(path.parent).get("task")
    name = task.get("name") if isinstance(task, Mapping) else None
    if not re.fullmatch(r"\w+", str(name)):
        raise ValueError(
            f"{path} must have a name of letters and digits as task.name, got {name!r}"
        )
    return str(name)


def check_extent(content: Any) -> None:
    """Refuse containers that hold each other many times over, which every later step would walk.

    Raises:
        ValueError: there are too many values, or levels.
    """
    pending, count = [(content, 0)], 0
    while pending:
        value, depth = pending.pop()
        count += 1
        if count > _MAX_VALUES or depth > _MAX_DEPTH:
            raise ValueError(
                f"settings must be at most {_MAX_VALUES:,} on {_MAX_DEPTH} levels, got more"
            )
        if isinstance(value, Mapping | list | tuple):
            inner = value.values() if isinstance(value, Mapping) else value
            pending += [(each, depth + 1) for each in inner]


def _check_form(config: Any) -> None:
    """Refuse what lacks settings of a run, or has them with other types."""
    if not isinstance(config, Mapping):
        raise ValueError(f"settings must be those of a run, got a {type(config).__name__}")
    _check_fields(config, Train, "")
    if config["global_seed"] is None:
        raise ValueError("global_seed must be a whole number in a run, got null")
    _check_fields(config["task"], Task, "task.")
    places = [(key, config[key]) for key in _PARTS]
    places += [(f"task.{key}", config["task"][key]) for key in _TASK_PARTS]
    for key, value in places:
        if not is_part(value):
            raise ValueError(f"{key} must be a part with _target_, got a {type(value).__name__}")


def _check_fields(settings: Any, schema: type, prefix: str) -> None:
    """Refuse settings without the fields of a schema, or with values of other types."""
    if not isinstance(settings, Mapping):
        raise ValueError(f"{prefix[:-1]} must be settings by name, got a {type(settings).__name__}")
    for each in fields(schema):
        if each.name in _NOT_SAVED:
            continue
        if each.name not in settings:
            raise ValueError(f"{prefix}{each.name} must be given, got nothing")
        value = settings[each.name]
        if not matches(value, each.type):
            got = f"a {type(value).__name__}"
            raise ValueError(f"{prefix}{each.name} must be {describe(each.type)}, got {got}")
