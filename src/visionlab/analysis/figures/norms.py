"""How far averages are from the weights in training."""

import functools
from collections.abc import Mapping

from matplotlib.figure import Figure

from visionlab.analysis.asked import Asked
from visionlab.analysis.figures.labels import by_task, common_label
from visionlab.analysis.figures.lines import (
    along_rows,
    draw_line,
    draw_panels,
    from_zero,
    in_panels,
    panels_and_lines,
)
from visionlab.analysis.figures.style import styled
from visionlab.analysis.measures import Model


def draw_norms(asked: Asked) -> Mapping[str, Figure]:
    """Draw the norm of average minus weights, divided by the norm of the weights, over epochs.

    A panel for each average, a line for each setting of the runs. With a `hue`, lines are its
    values alone, and what else differs is panels. Each task has a figure of its own.

    Raises:
        ValueError: a run lacks the setting `hue`.
    """
    averages = [model for model in asked.models if model.name != "model"]
    figures: dict[str, Figure] = {}
    for name, models in by_task(averages, "norms"):
        panel_keys, line_keys = panels_and_lines(models, asked.hue)
        if asked.hue is None:
            panel_keys, line_keys = line_keys, panel_keys
        make = functools.partial(along_rows, x=asked.x, read=relative_norm)
        with styled():
            figure = draw_panels(
                in_panels(models, panel_keys, line_keys, make),
                name=name,
                x_label=asked.x,
                y_label="‖average \N{MINUS SIGN} weights‖ / ‖weights‖",
                common=common_label(line_keys),
                limits=from_zero,
                draw=draw_line,
            )
        if figure is not None:
            figures[name] = figure
    return figures


def relative_norm(model: Model, row: Mapping[str, float | None]) -> float | None:
    """Return how far an average is from the weights in training, in norms of these.

    Args:
        model: an average.
        row: of its run.
    """
    difference, weights = row.get(f"norm/model_minus_{model.name}"), row.get("norm/model")
    return difference / weights if difference is not None and weights else None
