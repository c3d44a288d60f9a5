"""Curves of training: a number over epochs or steps, for the model in training and its averages."""

import functools
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from visionlab.analysis.asked import Asked
from visionlab.analysis.figures.labels import by_task, common_label, number_label
from visionlab.analysis.figures.lines import (
    along_rows,
    draw_line,
    draw_panels,
    from_zero,
    in_panels,
    panels_and_lines,
    settled,
)
from visionlab.analysis.figures.style import styled
from visionlab.analysis.measures import Model, check_value, in_row, main_value


def draw_curves(asked: Asked) -> Mapping[str, Figure]:
    """Draw a number over epochs or steps: a panel for each setting, a line for each average.

    With a `hue`, the other way round: a line for each of its values, a panel for each average.
    Seeds are one line, their mean, in a band of one standard deviation. The model in training
    depends on no setting of averages; it is drawn once. Each task has a figure of its own.

    Raises:
        ValueError: no run has the number in its rows, or a run lacks the setting `hue`.
    """
    figures = {
        name: figure
        for name, models in by_task(asked.models, "curves")
        if (figure := _draw_one(models, asked, name)) is not None
    }
    if asked.y is not None:
        _check_rows(asked.models, asked.y)
    return figures


def _draw_one(models: Sequence[Model], asked: Asked, name: str) -> Figure | None:
    value = asked.y or _main_curve(models)
    if value is None:
        return None
    panel_keys, line_keys = panels_and_lines(models, asked.hue)
    if not value.startswith("val/"):  # of the run, whatever its averages
        panel_keys = [key for key in panel_keys if not key.startswith("averaged.")]
        if asked.hue is None or asked.hue.startswith("averaged."):
            panel_keys, line_keys = [], panel_keys
    read = functools.partial(in_row, value=value)
    make = functools.partial(along_rows, x=asked.x, read=read)
    with styled():
        return draw_panels(
            in_panels(models, panel_keys, line_keys, make),
            name=name,
            x_label=asked.x,
            y_label=number_label(value),
            common=common_label(line_keys),
            limits=from_zero if value == "lr" else settled,
            draw=draw_line,
        )


def _main_curve(models: Sequence[Model]) -> str | None:
    """Return the number on validation that says most, or None if nothing was validated."""
    rows = [row for model in models for row in model.run.rows]
    if not any(key.startswith("val/") for row in rows for key in row):
        return None
    return f"val/{main_value(models).partition('/')[2]}"


def _check_rows(models: Sequence[Model], value: str) -> None:
    check_value(models, value, name="y")
    if all(in_row(model, row, value) is None for model in models for row in model.run.rows):
        raise ValueError(
            f"y must be a number of each epoch, as val/loss, train/loss or lr, got {value}"
        )
