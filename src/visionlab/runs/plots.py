"""What `plots.py` does: from its configuration to the options of `visionlab.analysis`."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from visionlab.analysis import plots
from visionlab.analysis.options import FigureOptions, PlotOptions, Schedule
from visionlab.config.instantiate import instantiate_part
from visionlab.config.overrides import as_typed


def plot(config: Mapping[str, Any]) -> None:
    """Draw tables, figures and a report as a composed configuration of `plots.py` asks.

    Raises:
        ValueError: an option is out of range, there are no runs, or they lack something requested.
        OSError: a file cannot be written.
    """
    root, parts = config["dataset"]["root"], config["parts"]
    plots.plot(
        plot_options(config),
        load_schedule=_load_schedule,
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


def _load_schedule(name: str) -> Schedule:
    """Return the schedule of a file in `conf/scheduler`, or in the user's own folder.

    Raises:
        ValueError: there is none.
    """
    try:
        settings = OmegaConf.to_container(
            compose("train", overrides=[f"scheduler={name}"]).scheduler, resolve=True
        )
    except MissingConfigException as error:
        known = GlobalHydra.instance().config_loader().get_group_options("scheduler")
        raise ValueError(
            f"planned.schedulers must be some of {', '.join(known)}, got {name}"
        ) from error
    assert isinstance(settings, dict)
    schedule: Schedule = instantiate_part(settings, key="scheduler")  # type: ignore[arg-type]
    return schedule


def _load_images(
    folder: Path, keys: Sequence[int], *, dataset_root: str | None, parts: Sequence[str]
) -> Sequence[Any]:
    from visionlab.runs.sample_pictures import sample_pictures  # imports torch

    return sample_pictures(folder, keys, dataset_root=dataset_root, parts=parts)
