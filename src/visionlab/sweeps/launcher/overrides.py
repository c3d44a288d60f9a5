"""Settings of Hydra's launcher that hold for some jobs of a multirun only."""

import copy
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, OmegaConfBaseException

from visionlab.config.errors import explain
from visionlab.config.suggestions import similar_settings


def with_launcher(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return the configuration of a multirun with other settings of its launcher.

    Raises:
        ValueError: the launcher has no such setting, or it takes no such value.
    """
    changed = copy.deepcopy(config)
    OmegaConf.set_readonly(changed.hydra, False)
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, value = override.key_or_group, override.value()
        try:
            OmegaConf.update(changed, key, value, force_add=override.is_add())
        except ConfigAttributeError as error:
            known = [f"hydra.launcher.{name}" for name in config.hydra.launcher]
            raise ValueError(f"{key} must be a setting{similar_settings(key, known)}") from error
        except OmegaConfBaseException as error:
            raise ValueError(f"{key}: {explain(error)}, got {value}") from error
    return changed
