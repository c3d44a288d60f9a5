"""Compose the jobs of a multirun.

Hydra needs tens of milliseconds to compose a configuration. Jobs that choose the same config files
are therefore composed once; each then sets its values as Hydra would.
"""

import copy
import functools
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from visionlab.config.checking import check_allowed, check_parts
from visionlab.config.errors import check_known
from visionlab.config.overrides import as_typed, sweep_values
from visionlab.config.run_config import invocation

_NOT_SETTINGS = ("hydra", "sweep")
_EXPERIMENT = "experiment"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job of a multirun."""

    number: int  # position in the grid, from 0
    name: str  # of its folder in that of the multirun
    swept: Mapping[str, str]  # overrides that not all jobs share, by key
    config: Mapping[str, Any]  # resolved, as plain containers
    composition: Mapping[str, Any]  # see `Invocation.composition`
    needs: Sequence[str] = ()  # names of jobs that must have finished
    launcher: tuple[str, ...] = ()  # overrides of `hydra.launcher` for it alone


def compose_jobs(loader: ConfigLoader, master: DictConfig, arguments: Sequence[str]) -> list[Job]:
    """Return the jobs of a grid; each value of a list in `arguments` makes one.

    An experiment may define its own grid in `hydra.sweeper.params`. Several experiments make
    several grids, one after another. `master` is the configuration of the multirun.

    Raises:
        ValueError: a setting is unknown, missing, or lists a value twice.
        HydraException: Hydra refuses an override.
    """
    compose = _Composer(loader, master, arguments)
    parser = OverridesParser.create(config_loader=loader)
    grid: list[list[str]] = []
    for experiment, others in _experiments(parser.parse_overrides(list(arguments))):
        parsed = parser.parse_overrides([*experiment, *compose.params(experiment), *others])
        for override in parsed:
            check_values(override)
        grid += grid_points(parsed)
    count = Counter(override for overrides in grid for override in overrides)
    typed = functools.cache(as_typed)  # jobs share most of their overrides
    parsed_one = functools.cache(lambda override: parser.parse_overrides([override])[0])
    jobs = []
    for number, overrides in enumerate(grid):
        swept = [override for override in overrides if count[override] < len(grid)]
        settings = [override.lstrip("+").partition("=") for override in swept]
        try:
            config, hydra = compose([*map(parsed_one, overrides)], number, swept)
        except ValueError as error:
            where = f" (job {','.join(swept)})" if swept else ""
            raise ValueError(f"{error}{where}") from error
        jobs.append(
            Job(
                number=number,
                name=str(hydra.sweep.subdir),
                swept={key: value for key, _, value in settings},
                config=config,
                composition={
                    **invocation(hydra, Path()).composition,
                    "overrides": [*map(typed, overrides)],
                },
            )
        )
    names = Counter(job.name for job in jobs)
    if not jobs or max(names.values()) > 1:
        name, times = names.most_common(1)[0] if jobs else ("no job", 0)
        raise ValueError(
            f"hydra.sweep.subdir must give each of one or more jobs a folder, got {name} x{times}"
        )
    return jobs


def _experiments(overrides: Sequence[Override]) -> list[tuple[list[str], list[str]]]:
    """Return each chosen experiment, as an override, with all other overrides."""
    chosen = [each for each in overrides if each.key_or_group == _EXPERIMENT][-1:]
    others = [str(each.input_line) for each in overrides if each.key_or_group != _EXPERIMENT]
    if not chosen or not chosen[0].is_discrete_sweep():
        return [([str(each.input_line) for each in chosen], others)]
    check_values(chosen[0])
    return [([f"{_EXPERIMENT}={name}"], others) for name in sweep_values(chosen[0])]


def grid_points(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of each job; of several for one key the last counts.

    Raises:
        HydraException: a sweep has infinitely many values.
    """
    lists = {
        each.get_key_element(): [
            f"{each.get_key_element()}={value}" for value in sweep_values(each)
        ]
        if each.is_sweep_override()
        else [str(each.input_line)]
        for each in overrides
    }
    return [list(job) for job in itertools.product(*lists.values())]


class _Composer:
    """Composes jobs; the result for a job does not depend on the jobs before it."""

    def __init__(self, loader: ConfigLoader, master: DictConfig, arguments: Sequence[str]) -> None:
        self._loader = loader
        self._master = master
        self._arguments = arguments
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def __call__(
        self, overrides: Sequence[Override], number: int, swept: Sequence[str]
    ) -> tuple[dict[str, Any], DictConfig]:
        """Return a job's settings and those of Hydra, which are valid until the next call."""
        values = [override for override in overrides if self._sets_value(override)]
        others = tuple(str(each.input_line) for each in overrides if each not in values)
        # jobs of a grid set the same keys, so each overwrites the values of the one before
        key = (*others, *(value.key_or_group for value in values))
        if key not in self._composed:
            self._composed[key] = self._compose(others)
        config = self._composed[key]
        try:
            for value in values:
                OmegaConf.update(config, value.key_or_group, value.value(), merge=True)
        except OmegaConfBaseException:  # let Hydra try, or raise its own error
            config = self._compose([str(override.input_line) for override in overrides])
        config.hydra.job.num = number
        config.hydra.job.override_dirname = ",".join(swept)
        settings: dict[str, Any] = {
            str(name): OmegaConf.to_container(config[name], resolve=True)
            if OmegaConf.is_config(config[name])
            else config[name]
            for name in config
            if name not in _NOT_SETTINGS
        }
        if settings["resume"]:
            raise ValueError(
                "resume must be one run, not part of a multirun, which resumes by itself, "
                f"got {settings['resume']}"
            )
        check_allowed(settings["parts"], self._arguments)  # not what a file sweeps
        check_parts(settings, parts=settings["parts"])
        return settings, config.hydra

    def params(self, overrides: Sequence[str]) -> list[str]:
        """Return the grid that the chosen config files define, as overrides."""
        params = self._compose(overrides).hydra.sweeper.get("params") or {}
        return [f"{key}={value}" for key, value in params.items()]

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        # not load_sweep_config: its Hydra 1.4 version refuses an experiment that defines a grid
        hydra_overrides = OmegaConf.to_container(self._master.hydra.overrides.hydra)  # not resolved
        assert isinstance(hydra_overrides, list)
        config = self._loader.load_configuration(
            config_name=self._master.hydra.job.config_name,
            overrides=[*hydra_overrides, *overrides],
            run_mode=RunMode.RUN,
        )
        OmegaConf.copy_cache(from_config=self._master, to_config=config)  # such as timestamps
        OmegaConf.set_struct(config.hydra, False)
        OmegaConf.set_readonly(config.hydra, False)
        settings = copy.deepcopy(config)
        with open_dict(settings):
            settings.pop("hydra")
        check_known(settings)
        return config

    def _sets_value(self, override: Override) -> bool:
        """Return whether an override only replaces a value and chooses no config file."""
        key = override.key_or_group
        if override.type != OverrideType.CHANGE or override.package is not None:
            return False
        if "/" in key or key in self._master.hydra.runtime.choices:
            return False
        is_plain = not isinstance(override.value(), dict)
        return is_plain and not OmegaConf.is_dict(OmegaConf.select(self._master, key))


def check_values(override: Override) -> None:
    """Refuse an override that lists a value twice.

    Raises:
        ValueError: the message names it.
    """
    values = sweep_values(override) if override.is_discrete_sweep() else []
    if len(set(values)) < len(values):
        raise ValueError(
            f"{override.key_or_group} must list each value once, got {','.join(values)}"
        )
