"""Learning rates over a training: as runs noted them, or as schedules will make them."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from visionlab.analysis.asked import Asked
from visionlab.analysis.figures.labels import by_task, common_label, grouped, settings_apart
from visionlab.analysis.figures.lines import (
    MAX_LINES,
    Line,
    add_legend,
    along_rows,
    are_alike,
    draw_line,
    draw_panels,
    from_zero,
    in_panels,
    name_axes,
)
from visionlab.analysis.figures.style import looks, panels, styled
from visionlab.analysis.measures import Model, in_row

_MAX_POINTS = 1000
_RATE = "learning rate"
_read = functools.partial(in_row, value="lr")


def draw_schedules(asked: Asked) -> Mapping[str, Figure]:
    """Draw the learning rate at the end of each epoch, a line for each schedule.

    Told apart are only the settings that the rate depends on. Each task has a figure of its own.
    """
    in_training = [model for model in asked.models if model.name == "model"]
    figures = {}
    for name, models in by_task(in_training, "schedules"):
        keys = _rate_keys(models)
        make = functools.partial(along_rows, x=asked.x, read=_read)
        with styled():
            figure = draw_panels(
                in_panels(models, [], keys, make),
                name=name,
                x_label=asked.x,
                y_label=_RATE,
                common=common_label(keys),
                limits=from_zero,
                draw=draw_line,
            )
        if figure is not None:
            figures[name] = figure
    return figures


def draw_planned(
    schedules: Mapping[str, Callable[..., float]],
    *,
    lr: float,
    total_steps: int,
    steps_per_epoch: int,
) -> Figure:
    """Draw the learning rate of each step of a training that need not have run.

    Args:
        schedules: by their labels.
        lr: that the schedules' factors are on.
        total_steps: of the training.
        steps_per_epoch: steps of one epoch.

    Raises:
        ValueError: there are no schedules, or too many to be told apart; no steps; or a schedule
            that does not fit the training.
    """
    if not 1 <= len(schedules) <= MAX_LINES:
        raise ValueError(f"schedules must be 1 to {MAX_LINES}, got {len(schedules)}")
    for name, count in (("total_steps", total_steps), ("steps_per_epoch", steps_per_epoch)):
        if count < 1:
            raise ValueError(f"{name} must be >= 1, got {count}")
    steps = np.unique(np.linspace(0, total_steps - 1, _MAX_POINTS).round().astype(int)).tolist()
    # the rate of the step that ends there, as in the rows of a run
    epochs = np.array([(step + 1) / steps_per_epoch for step in steps])
    lines = {}
    for label, schedule in schedules.items():
        factor = functools.partial(
            schedule, total_steps=total_steps, steps_per_epoch=steps_per_epoch
        )
        rates = np.array([lr * factor(step) for step in steps])
        ones = np.ones(len(steps), dtype=int)
        lines[label] = Line(x=epochs, mean=rates, std=np.zeros(len(steps)), num_seeds=ones)
    look = looks(list(lines))
    with styled():
        figure = panels(1)
        (axis,) = figure.axes
        for label, line in lines.items():
            draw_line(axis, line, look[label], label)
        axis.set_ylim(*from_zero(list(lines.values())))
        name_axes(axis, x_label="epoch", y_label=_RATE)
        add_legend(figure, look, common=None, note=None)
    return figure


def _rate_keys(models: Sequence[Model]) -> list[str]:
    """Return the settings in which models differ, without those that rates do not depend on."""
    keys, _ = settings_apart(models)
    for key in list(keys):
        fewer = [each for each in keys if each != key]
        groups = grouped(models, fewer)
        has_merged = len(groups) < len(grouped(models, keys))
        if has_merged and all(are_alike(members, _read) for _, members in groups):
            keys = fewer
    return keys
