"""From the configurations of `visionlab runs|diff|prune` to what they do. Imports no torch."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from visionlab.analysis import run_diff, run_list
from visionlab.analysis.selection import RunSelection, as_states, default_folders
from visionlab.runs.prune import prune
from visionlab.runs.prune_rules import PruneOptions


def list_runs(config: Mapping[str, Any]) -> None:
    """List runs as a composed configuration of `visionlab runs` asks.

    Raises:
        ValueError: there are no runs, or no such column, state, task, setting or value.
    """
    sort, descending = config["sort"], config["descending"]
    run_list.list_runs(_folders(config), _selection(config), sort=sort, descending=descending)


def show_diff(config: Mapping[str, Any]) -> None:
    """Show two runs side by side as a composed configuration of `visionlab diff` asks.

    Raises:
        ValueError: they are no two readable run folders.
    """
    run_diff.show_diff(_folders(config))


def prune_runs(config: Mapping[str, Any]) -> None:
    """Remove files of runs, or say which, as a composed configuration of `visionlab prune` asks.

    Raises:
        ValueError: a rule is wrong, there are no runs, or one is in use.
        OSError: something cannot be removed; what came after it is untouched.
    """
    options = PruneOptions(
        selection=_selection(config),
        **{
            field.name: config[field.name] for field in fields(PruneOptions) if field.name in config
        },
    )
    prune(_folders(config), options)


def _folders(config: Mapping[str, Any]) -> list[Path]:
    """Return the folders that the setting `runs` names, or those where runs are by default."""
    runs = config["runs"]
    given = runs if isinstance(runs, list) else [runs]
    return default_folders() if runs is None else [Path(str(each)).expanduser() for each in given]


def _selection(config: Mapping[str, Any]) -> RunSelection:
    states = as_states(config["state"])
    return RunSelection(states=states, task=config["task"], where=config["where"])
