"""From the configuration of `plots.py` to the options of `visionlab.analysis`."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from visionlab.analysis import plots
from visionlab.analysis.options import FigureOptions, PlotOptions, Schedule
from visionlab.config.checking import check_parts
from visionlab.config.instantiate import instantiate_part
from visionlab.config.overrides import as_typed
from visionlab.config.run_config import compose_option


def plot(config: Mapping[str, Any]) -> None:
    """Draw tables, figures and a report as a composed configuration of `plots.py` asks.

    Raises:
        ValueError: an option is out of range, there are no runs, or they lack something requested.
        OSError: a file cannot be written.
    """
    root, parts = config["dataset"]["root"], config["parts"]
    plots.plot(
        plot_options(config),
        load_schedule=partial(_load_schedule, parts=parts),
        load_run_schedule=partial(_load_run_schedule, parts=parts),
        load_images=partial(_load_images, dataset_root=root, parts=parts),
        arguments=[as_typed(each) for each in sys.argv[1:]],
    )


def plot_options(config: Mapping[str, Any]) -> PlotOptions:
    """Return the options that a composed configuration of `plots.py` holds."""
    figure = {field.name: config[field.name] for field in fields(FigureOptions)}
    for name in ("epochs", "broken_axis"):
        figure[name] = None if figure[name] is None else tuple(figure[name])
    runs = config["runs"]
    folders = runs if isinstance(runs, list) else [runs]
    return PlotOptions(
        runs=None if runs is None else [Path(str(folder)).expanduser() for folder in folders],
        out=Path(config["out"]).expanduser(),
        figure=FigureOptions(**figure),
        table=instantiate_part(config["table"], key="table"),
        planned=instantiate_part(config["planned"], key="planned"),
        **{name: config[name] for name in ("where", "figures", "report", "sample_pictures")},
    )


def _load_schedule(name: str, *, parts: Sequence[str]) -> Schedule:
    """Return the schedule of a file in `conf/scheduler`, or in the user's own folder."""
    settings = compose_option("scheduler", name, key="planned.schedulers")
    check_parts(settings, f"planned.schedulers={name}: scheduler", parts=parts)
    schedule: Schedule = instantiate_part(settings, key="scheduler")
    return schedule


def _load_run_schedule(settings: Mapping[str, Any], *, parts: Sequence[str]) -> Schedule | None:
    """Return the schedule of a run's settings, None if it is not allowed or has other settings."""
    prefix = "scheduler."
    own = {key.removeprefix(prefix): settings[key] for key in settings if key.startswith(prefix)}
    try:
        check_parts(own, "scheduler", parts=parts)
        schedule = instantiate_part(own, key="scheduler")
    except ValueError:
        return None
    return schedule if callable(schedule) else None


def _load_images(
    folder: Path, keys: Sequence[int], *, dataset_root: str | None, parts: Sequence[str]
) -> Sequence[Any]:
    from visionlab.runs.sample_pictures import sample_pictures  # imports torch

    return sample_pictures(folder, keys, dataset_root=dataset_root, parts=parts)
