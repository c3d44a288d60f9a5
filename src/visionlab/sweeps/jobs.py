"""The jobs that a multirun asks for, composed and resolved.

Composing a configuration takes Hydra tens of milliseconds. Jobs that choose the same files of the
groups are composed once; each then sets its values as Hydra would.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionlab.command_line import check_known
from visionlab.configs import leaves

_NOT_SETTINGS = ("hydra", "sweep")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job of a multirun.

    Attributes:
        number: from 0, in the order of the grid.
        name: of its folder in the multirun's.
        swept: its overrides that not all jobs have, by key.
        config: all its settings, resolved, as plain containers.
    """

    number: int
    name: str
    swept: Mapping[str, str]
    config: Mapping[str, Any]


def compose_jobs(loader: ConfigLoader, master: DictConfig, arguments: Sequence[str]) -> list[Job]:
    """Return the jobs of a grid.

    Args:
        loader: of Hydra.
        master: the multirun's own configuration.
        arguments: overrides as on the command line; a list of values makes a job of each.

    Raises:
        ValueError: a setting is unknown, not given, or has a value twice.
        HydraException: Hydra refuses an override.
    """
    parser = OverridesParser.create(config_loader=loader)
    parsed = parser.parse_overrides(list(arguments))
    for each in parsed:
        _check_values(each)
    (grid,) = BasicSweeper.split_arguments(parsed, None)
    values: dict[str, set[str]] = {}
    for overrides in grid:
        for override in overrides:
            values.setdefault(_key(override), set()).add(override)
    compose = _Composer(loader, master)
    jobs = []
    for number, overrides in enumerate(grid):
        swept = [override for override in overrides if len(values[_key(override)]) > 1]
        config, name = compose(parser.parse_overrides(overrides), number, swept)
        by_key = {_key(each).lstrip("+"): each.partition("=")[2] for each in swept}
        jobs.append(Job(number=number, name=name, swept=by_key, config=config))
    return jobs


class _Composer:
    """Composes jobs; what it returns for one does not depend on those before."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader = loader
        self._master = master
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def __call__(
        self, overrides: Sequence[Override], number: int, swept: Sequence[str]
    ) -> tuple[dict[str, Any], str]:
        """Return the settings of a job and the name of its folder."""
        values = [override for override in overrides if self._sets_a_value(override)]
        others = tuple(str(each.input_line) for each in overrides if each not in values)
        # jobs of a grid set the same keys, so each replaces what the one before has set
        key = (*others, *(value.key_or_group for value in values))
        if key not in self._composed:
            self._composed[key] = self._compose(others)
        config = self._composed[key]
        try:
            for value in values:
                OmegaConf.update(config, value.key_or_group, value.value(), merge=True)
        except OmegaConfBaseException:  # Hydra may know better, or says in its own words why not
            config = self._compose([str(override.input_line) for override in overrides])
        config.hydra.job.num = number
        config.hydra.job.override_dirname = ",".join(swept)
        settings = {
            str(name): OmegaConf.to_container(config[name], resolve=True)
            if OmegaConf.is_config(config[name])
            else config[name]
            for name in config
            if name not in _NOT_SETTINGS
        }
        if missing := [key for key, value in leaves(settings).items() if value == "???"]:
            raise ValueError(f"{', '.join(missing)} must be given, got nothing")
        return settings, str(config.hydra.sweep.subdir)

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        config = self._loader.load_sweep_config(self._master, list(overrides))
        OmegaConf.set_struct(config.hydra, False)
        OmegaConf.set_readonly(config.hydra, False)
        check_known(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
        return config

    def _sets_a_value(self, override: Override) -> bool:
        """Return whether an override replaces one value and chooses no file."""
        key = override.key_or_group
        if override.type != OverrideType.CHANGE or override.package is not None:
            return False
        if "/" in key or key in self._master.hydra.runtime.choices:
            return False
        is_plain = not isinstance(override.value(), dict)
        return is_plain and not OmegaConf.is_dict(OmegaConf.select(self._master, key))


def _check_values(override: Override) -> None:
    values = list(override.sweep_string_iterator()) if override.is_discrete_sweep() else []
    if len(set(values)) < len(values):
        raise ValueError(
            f"{override.key_or_group} must list each value once, got {','.join(values)}"
        )


def _key(override: str) -> str:
    return override.partition("=")[0]
