"""Final numbers against the settings that were swept."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.analysis.asked import Asked
from visionlab.analysis.figures.labels import (
    by_task,
    common_label,
    grouped,
    number_label,
    setting_label,
    settings_apart,
)
from visionlab.analysis.figures.lines import (
    Line,
    Panels,
    draw_panels,
    in_panels,
    over_seeds,
    panels_and_lines,
    settled,
)
from visionlab.analysis.figures.scales import Scale, categories, scale_of, set_x_scale
from visionlab.analysis.figures.style import Look, styled
from visionlab.analysis.measures import Model, Weights, check_value, main_value, number
from visionlab.analysis.values import is_number

_DECAY = "averaged.decay"
_APART = 0.07  # of the space between two categories


def draw_against(asked: Asked) -> Mapping[str, Figure]:
    """Draw the final number of finished runs against each numeric setting in which they differ.

    There is a figure `value_against_<setting>` for each. A line is the mean of seeds, with error
    bars of one standard deviation; lines are averages, or the values of `hue`, and panels what else
    differs. Against the decay of averages, no average stands beside them, and lines are what else
    differs. Where no two runs differ in the setting alone, as in a random search, runs are
    points, if there are more of them than settings.

    Raises:
        ValueError: no run has the number `asked.value`; or a run lacks the setting `hue`.
    """
    if asked.value is not None:
        check_value(asked.models, asked.value, name="value")
    finished = [model for model in asked.models if model.run.state == "finished"]
    figures: dict[str, Figure] = {}
    for ending, models in by_task(finished, "value"):
        of_runs, of_averages = settings_apart(models)
        for key in [*of_runs, *of_averages]:
            name = f"{ending}_against_{key}"
            with styled():
                figure = _draw_one(models, key, asked=asked, name=name)
            if figure is not None:
                figures[name] = figure
    return figures


def _draw_one(models: Sequence[Model], key: str, *, asked: Asked, name: str) -> Figure | None:
    value = asked.value or main_value(models)
    has_number = [model for model in models if is_number(model.settings.get(key))]
    shown = list(models) if key == _DECAY else has_number
    if len(grouped(has_number, [key])) < 2:  # of decays: one average and none are no sweep
        return None
    values = [model.settings[key] for model in shown]
    scale = categories(values) if key == _DECAY else scale_of(values)
    panel_keys, line_keys = _keys(shown, key, asked.hue)
    make = functools.partial(_line, key=key, scale=scale, value=value, weights=asked.weights)
    lines, draw = in_panels(shown, panel_keys, line_keys, make), _draw_errors
    if all(len(line.x) == 1 for panel in lines.values() for line in panel.values()):
        if len({model.run.folder for model in shown}) <= len(panel_keys) + len(line_keys):
            return None  # so few that nothing follows
        line_keys = [each for each in line_keys if each.startswith("averaged.")]
        lines, draw = in_panels(shown, [], line_keys, make), _draw_points
    figure = draw_panels(
        _side_by_side(lines) if scale.kind == "category" else lines,
        name=name,
        x_label=setting_label(key),
        y_label=number_label(value),
        common=common_label(line_keys),
        limits=settled,
        draw=draw,
    )
    for axis in [] if figure is None else figure.axes:
        set_x_scale(axis, scale)
    return figure


def _keys(models: Sequence[Model], key: str, hue: str | None) -> tuple[list[str], list[str]]:
    """Return the settings that tell panels apart, and lines, if one is on the x axis."""
    panel_keys, line_keys = panels_and_lines(models, None if hue == key else hue)
    if key in line_keys:  # of averages
        panel_keys, line_keys = [], [*panel_keys, *line_keys]
    return [each for each in panel_keys if each != key], [each for each in line_keys if each != key]


def _line(
    models: Sequence[Model], *, key: str, scale: Scale, value: str, weights: Weights
) -> Line | None:
    """Return final numbers over where the setting stands on its axis."""
    return over_seeds(
        [
            (scale.place(model.settings[key]), model.run.seed, y)
            for model in models
            if (y := number(model, value, weights=weights)) is not None
        ]
    )


def _side_by_side(panels: Panels) -> Panels:
    """Return lines moved sideways by little, so that their error bars do not hide each other."""
    return {
        title: {
            label: replace(line, x=line.x + _APART * (number - (len(lines) - 1) / 2))
            for number, (label, line) in enumerate(lines.items())
        }
        for title, lines in panels.items()
    }


def _draw_errors(axis: Axes, line: Line, look: Look, label: str) -> None:
    """Draw a line with error bars where there are several seeds."""
    axis.errorbar(
        *(line.x, line.mean),
        yerr=line.std if line.std.any() else None,
        label=label,
        color=look.color,
        linestyle=look.linestyle,
        marker=look.marker,
        capsize=2,
        elinewidth=0.8,
    )


def _draw_points(axis: Axes, line: Line, look: Look, label: str) -> None:
    """Draw points that no line joins."""
    axis.plot(
        *(line.x, line.mean), label=label, color=look.color, linestyle="none", marker=look.marker
    )
