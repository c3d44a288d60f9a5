"""Experiments to measure, composed from `conf/` as `train.py` composes them."""

from typing import Any

from hydra import compose, initialize_config_dir

from visionlab.config import command_line
from visionlab.config.run_config import resolve_config
from visionlab.runs.build import build_experiment
from visionlab.runs.experiment import Experiment


def make_experiment(*overrides: str) -> Experiment:
    """Return the experiment that `train.py` would run with these overrides."""
    return build_experiment(make_config(*overrides))


def make_config(*overrides: str) -> dict[str, Any]:
    """Return the configuration that `train.py` would resolve from these overrides."""
    command_line.register()
    with initialize_config_dir(command_line.CONF, version_base="1.3"):
        config = command_line.checked(compose("train", overrides=list(overrides)), overrides)
    return resolve_config(config)
