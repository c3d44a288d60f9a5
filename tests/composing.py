"""Compose configurations as the scripts do, without running them."""

import copy
import functools
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from visionlab.config import command_line
from visionlab.config.overrides import without_null_groups
from visionlab.config.run_config import resolve_config


def composed(*overrides: str, name: str = "train") -> dict[str, Any]:
    """Return the checked settings of a script, as it gets them."""
    return copy.deepcopy(_composed(*overrides, name=name))


def of_new_run(*overrides: str) -> dict[str, Any]:
    """Return the settings of a new run of train.py."""
    return resolve_config(composed(*overrides))


@functools.cache  # several tests ask for the same
def _composed(*overrides: str, name: str) -> dict[str, Any]:
    command_line.register()
    with initialize_config_dir(command_line.CONF, version_base="1.3"):
        given = without_null_groups(overrides, conf=Path(command_line.CONF))
        return command_line.checked(compose(name, overrides=given), overrides)
