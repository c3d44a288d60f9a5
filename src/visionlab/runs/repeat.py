"""A run made again from its folder alone, into a new folder."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionlab.config.run_config import Invocation
from visionlab.config.saved import check_saved
from visionlab.config.terminal import count, shell_command
from visionlab.core.processes import rank
from visionlab.engine.device import choose_device
from visionlab.files.data_paths import check_data_paths
from visionlab.files.run_folder import read_config, read_record, read_rows
from visionlab.runs.build import set_dataset_root
from visionlab.runs.record import describe_origin, origin_changes
from visionlab.runs.saved_run import check_is_run
from visionlab.runs.train import train

_OF_SETTINGS = ("threads", "processes")  # of the hardware, which the run's own settings decide
_log = logging.getLogger(__name__)


def repeat(options: Mapping[str, Any], invocation: Invocation) -> None:
    """Train a run again in Hydra's output folder, by a configuration of `visionlab repeat`.

    What differs of code, versions and hardware is logged before, and at the end whether the rows of
    `metrics.jsonl` are equal.

    Raises:
        FileNotFoundError: there is no such run, or not its data.
        ValueError: its files are damaged, or ask for parts that are not allowed.
    """
    run, folder = Path(options["run"]).expanduser(), invocation.folder
    check_is_run(run)
    config = _settings(run, options)
    record = read_record(run)
    _log.info("run folder %s, repeating %s", folder, run)
    if changes := changes_since(record, config):
        _log.warning("not quite as it was made: %s; numbers may differ", ", ".join(changes))
    else:
        _log.info("code, versions and hardware are those that made it")
    train(config, Invocation(folder=folder, **_composition(record)))
    if rank() == 0:
        _log_result(run, folder)


def _settings(run: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run, with those that belong to this machine."""
    config = read_config(run)
    check_saved(config, origin=run / "config.yaml", parts=options["parts"])
    set_dataset_root(config, options["dataset"]["root"])
    check_data_paths(config["dataset"])
    device = options["device"] or config["device"]
    return {**config, "device": device, "resume": None}


def _composition(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a run was composed, as far as it is recorded, for `Invocation`."""
    defaults: dict[str, Any] = {"choices": {}, "overrides": [], "options": []}
    return {key: record.get(key, default) for key, default in defaults.items()}


def changes_since(record: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Return what differs now of the code, versions and hardware that made a run.

    Args:
        record: `run.json` of the run.
        config: its settings, with the device of now.
    """
    ours = describe_origin(device=choose_device(config["device"]), parts=config["parts"])
    hardware = {key: each for key, each in ours["hardware"].items() if key not in _OF_SETTINGS}
    commits = [each for each in (record.get("commit"), ours["commit"]) if each]
    commit = {key: each for key, each in (ours["commit"] or {}).items() if key == "hash"}
    changes = [*origin_changes(record, {**ours, "hardware": hardware, "commit": commit})]
    if len(commits) < 2:
        return [*changes, "code of an unknown commit"]
    if any(each["dirty"] for each in commits):
        return [*changes, "code with uncommitted changes"]
    return changes


def _log_result(run: Path, folder: Path) -> None:
    """Log whether a repeated run has the rows of the first one."""
    ours, theirs = (read_rows(each / "metrics.jsonl") for each in (folder, run))
    number = min(len(ours), len(theirs))
    if ours[:number] == theirs[:number]:
        _log.info("metrics.jsonl: %s of both are equal, bit by bit", count(number, "epoch"))
    else:
        epoch = next(a["epoch"] for a, b in zip(ours, theirs, strict=False) if a != b)
        _log.warning("metrics.jsonl differs from epoch %d on", epoch)
        _log.info("next: %s", shell_command("diff", str(run), str(folder)))
