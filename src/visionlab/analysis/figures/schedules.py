"""Learning rates over a training: as runs noted them, or as schedules will make them."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from visionlab.analysis.asked import Asked
from visionlab.analysis.figures.labels import common_label, grouped, settings_apart
from visionlab.analysis.figures.lines import (
    add_legend,
    along_rows,
    are_alike,
    are_too_many,
    draw_line,
    finish,
)
from visionlab.analysis.figures.style import looks, panels, styled
from visionlab.analysis.measures import Model, in_row
from visionlab.schedules import Schedule

_MAX_POINTS = 1000
_RATE = "learning rate"
_read = functools.partial(in_row, value="lr")


def draw_schedules(asked: Asked) -> Mapping[str, Figure]:
    """Draw the learning rate at the end of each epoch, a line for each schedule.

    Told apart are only the settings that the rate depends on.
    """
    models = [model for model in asked.models if model.name == "model" and model.run.rows]
    keys = _rate_keys(models)
    groups = grouped(models, keys)
    lines = {
        label: line
        for label, members in groups
        if (line := along_rows(members, x=asked.x, read=_read)) is not None
    }
    if not lines or are_too_many("schedules", num_panels=1, num_lines=len(lines)):
        return {}
    look = looks(list(lines))
    with styled():
        figure = panels(1)
        (axis,) = figure.axes
        for label, line in lines.items():
            draw_line(axis, line, look[label], label=label)
        finish(axis, title="", x=asked.x, y_label=_RATE)
        axis.set_ylim(bottom=0)
        add_legend(figure, look, common=common_label(keys), note=None)
    return {"schedules": figure}


def draw_planned(
    schedules: Mapping[str, Schedule], *, lr: float, total_steps: int, steps_per_epoch: int
) -> Figure:
    """Draw the learning rate of each step of a training that need not have run.

    Args:
        schedules: by their labels.
        lr: that the schedules' factors are on.
        total_steps: of the training.
        steps_per_epoch: steps of one epoch.

    Raises:
        ValueError: there is no schedule or no step; or a schedule does not fit the training.
    """
    if not schedules:
        raise ValueError("schedules must be at least one, got none")
    for name, count in (("total_steps", total_steps), ("steps_per_epoch", steps_per_epoch)):
        if count < 1:
            raise ValueError(f"{name} must be >= 1, got {count}")
    steps = np.unique(np.linspace(0, total_steps - 1, _MAX_POINTS).round().astype(int)).tolist()
    look = looks(list(schedules))
    with styled():
        figure = panels(1)
        (axis,) = figure.axes
        for label, schedule in schedules.items():
            factor = functools.partial(
                schedule, total_steps=total_steps, steps_per_epoch=steps_per_epoch
            )
            # the rate of the step that ends there, as in the rows of a run
            epochs = [(step + 1) / steps_per_epoch for step in steps]
            style = {"color": look[label].color, "linestyle": look[label].linestyle}
            marks = {"marker": look[label].marker, "markevery": -(-len(steps) // 8)}
            rates = [lr * factor(step) for step in steps]
            axis.plot(epochs, rates, label=label, **style, **marks)
        finish(axis, title="", x="epoch", y_label=_RATE)
        axis.set_ylim(bottom=0)
        add_legend(figure, look, common=None, note=None)
    return figure


def _rate_keys(models: Sequence[Model]) -> list[str]:
    """Return the fewest settings that rates depend on; rather those of schedules than others."""
    keys, _ = settings_apart(models)
    for key in sorted(keys, key=lambda each: each.startswith("scheduler")):
        fewer = [each for each in keys if each != key]
        if all(are_alike(members, _read) for _, members in grouped(models, fewer)):
            keys = fewer
    return keys
