"""The plan of a tuning, checked before its first trial.

This module imports neither Optuna nor torch, so that a wrong command line is refused at once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict

from visionlab.config.command_line import checked, folder_name
from visionlab.config.overrides import quoted
from visionlab.config.run_config import config_dir_options, plain
from visionlab.config.schemas import TUNE_ONLY
from visionlab.config.terminal import shell_command
from visionlab.sweeps.tuning.space import Choices, Interval, Space, as_override, split_overrides
from visionlab.sweeps.tuning.storage_url import database_file

_OBJECTIVES = ("raw", "averaged")
# settings that may differ between starts and processes of one study
_MAY_DIFFER = (
    *TUNE_ONLY,  # the objective is compared separately
    "device",
    "threads",
    "tensorboard",
    "save_predictions",
    "dataset.root",
    "dataset.num_workers",
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Plan of a tuning."""

    n_trials: int  # to complete or prune, over all starts and processes
    n_jobs: int  # trials launched at once
    max_failures: int  # trials of this start that may fail
    url: str  # of the study's storage
    study_name: str
    direction: str  # minimize or maximize
    objective: str  # its name, `val/top1`
    sampler: Mapping[str, Any]  # settings of Optuna's sampler
    pruner: Mapping[str, Any]  # settings of Optuna's pruner
    seed: int | None  # of the sampler, None for a random one
    space: Space
    options: Sequence[str]  # of every trial, as `--config-dir`
    fixed: Sequence[str]  # overrides of every trial
    invariants: Mapping[str, Any]  # must not change, or trials would not be comparable
    folder: Path  # of the sweep

    def __post_init__(self) -> None:
        for name, least in (("n_trials", 1), ("n_jobs", 1), ("max_failures", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be >= {least}, got {value}")
        database_file(self.url)
        if not self.space:
            raise ValueError("at least one key must have a search space, e.g. optimizer.lr=0.1,1")
        if self.sampler.get("_partial_"):
            raise ValueError(
                "hydra/sweeper/sampler must draw points one by one, got grid; "
                f"{shell_command('train', '--multirun')} runs every point of a grid"
            )


def plan_study(
    config: DictConfig, arguments: Sequence[str], loader: ConfigLoader
) -> tuple[Plan, list[dict[str, Any]]]:
    """Plan a tuning; also return test jobs at the extremes of its search space.

    `config` is as Hydra composed it, without the search space.

    Raises:
        ValueError: a setting is wrong.
        HydraException: a value in the search space cannot be composed.
    """
    sweeper = config.hydra.sweeper
    parser = OverridesParser.create(config_loader=loader)
    given = parser.parse_overrides(list(arguments))
    shipped = parser.parse_overrides([f"{key}={value}" for key, value in sweeper.params.items()])
    space, fixed = split_overrides([*_without(shipped, given), *given])
    for key, axis in space.items():
        if key.partition(".")[0] in TUNE_ONLY:
            raise ValueError(f"{key} must be one value, got a space")
        if isinstance(axis, Interval) and loader.get_group_options(key):
            raise ValueError(f"{key} must be a choice of the files in conf/{key}, got numbers")
    if config.trial is not None:
        raise ValueError(f"trial must be left to the sweeper, got {config.trial}")
    # Optuna refuses other choices later; intervals may change
    choices = {key: axis for key, axis in space.items() if isinstance(axis, Choices)}
    settled = [as_override(*each) for each in fixed.items() if not each[0].startswith(_MAY_DIFFER)]
    plan = Plan(
        n_trials=sweeper.n_trials,
        n_jobs=sweeper.n_jobs,
        max_failures=config.max_failures,
        url=sweeper.storage,
        study_name=sweeper.study_name,
        direction=sweeper.direction,
        objective=_objective_name(config),
        sampler=plain(sweeper.sampler),
        pruner=plain(config.pruner),
        seed=sweeper.seed,
        space=space,
        options=config_dir_options(config.hydra),
        fixed=[as_override(*each) for each in fixed.items()],
        invariants={
            **{key: ",".join(choice.values) for key, choice in choices.items()},
            "objective": config.objective,
            "monitor": config.task.monitor,
            "settings": " ".join(sorted(settled)),
        },
        folder=Path(config.hydra.sweep.dir),
    )
    jobs = [loader.load_sweep_config(config, [*plan.fixed, *drawn]) for drawn in _extremes(space)]
    return plan, [_checked_trial(job, arguments) for job in jobs]


def _objective_name(config: DictConfig) -> str:
    name = f"val/{config.task.monitor}"
    return name if config.objective == "raw" else f"{name} of averages"


def _checked_trial(job: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    with open_dict(job):
        del job["hydra"]
    settings = checked(job, overrides)
    check_trial(settings)
    return settings


def check_trial(config: Mapping[str, Any]) -> None:
    """Refuse a configuration that cannot be a trial.

    Raises:
        ValueError: the message names the key, the rule and the value.
    """
    objective, averages = config["objective"], config["averaged"]
    if objective not in _OBJECTIVES:
        raise ValueError(f"objective must be {' or '.join(_OBJECTIVES)}, got {objective}")
    if objective == "averaged" and averages["decay"] == [] and not averages["uniform"]:
        raise ValueError("objective must be raw for a run without averages, got averaged")
    if config["resume"] is not None:
        raise ValueError(f"resume must be null in a tuning, got {config['resume']}")
    if config["num_processes"] != 1:
        raise ValueError(f"num_processes must be 1 in a tuning, got {config['num_processes']}")


def job_overrides(plan: Plan, number: int, drawn: Sequence[str]) -> tuple[list[str], str]:
    """Return the overrides of a trial's job and the name of its folder.

    `drawn` are overrides with the values drawn for the trial.
    """
    folder = f"{number}_{folder_name('_'.join(map(_shorten, drawn)))}"
    folder = re.sub(r"[=,\[\]]+", "-", folder).rstrip("-")  # eval.py run=FOLDER needs no quotes
    own = [f"trial={number}", f"hydra.sweep.subdir={quoted(folder)}"]
    return [*plan.fixed, *drawn, *own], folder


def _without(shipped: Sequence[Override], given: Sequence[Override]) -> list[Override]:
    """Return the shipped overrides whose keys, and their groups, the user did not override."""
    keys = {override.key_or_group for override in given}
    return [
        override
        for override in shipped
        if not any(f"{override.key_or_group}.".startswith(f"{key}.") for key in keys)
    ]


def _extremes(space: Space) -> Iterator[list[str]]:
    """Yield points that together contain every extreme of every axis."""
    ends = {key: axis.extremes() for key, axis in space.items()}
    for index in range(max(map(len, ends.values()), default=0)):
        yield [
            as_override(key, values[min(index, len(values) - 1)]) for key, values in ends.items()
        ]


def _shorten(override: str) -> str:
    """Round the number in an override to four digits, for a readable folder name."""
    key, _, value = override.partition("=")
    try:
        return f"{key}={float(value):.4g}" if "." in value or "e" in value else override
    except ValueError:
        return override
