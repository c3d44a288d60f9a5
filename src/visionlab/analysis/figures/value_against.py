"""Final metrics against the settings that vary."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.analysis.figures import lines
from visionlab.analysis.figures.scales import Scale, categories, set_x_scale, setting_scale
from visionlab.analysis.figures.style import LineStyle
from visionlab.analysis.groups import group_by
from visionlab.analysis.labels import metric_label, setting_label, slug
from visionlab.analysis.metrics import (
    Weights,
    check_metric,
    final_metric,
    largest_value,
    main_metric,
)
from visionlab.analysis.models import DECAY, ModelRecord, runs_of, split_varying_settings
from visionlab.analysis.options import FigureOptions
from visionlab.analysis.values import is_number

_OFFSET = 0.07  # between lines, as a share of the distance between two categories


def draw_value_against(
    models: Sequence[ModelRecord], options: FigureOptions
) -> Mapping[str, Figure]:
    """Draw the final metric of finished runs against each numeric setting that varies.

    There is a figure `value_against_<setting>` for each. A line is a mean over seeds with error
    bars of one standard deviation; lines are averages or the values of `hue`, panels all other
    settings. Against the EMA decay, the raw model is a category of its own, and lines are all other
    settings. If no two runs differ in this setting alone, as in a random search, each run is a
    point, provided that there are more runs than settings.

    Raises:
        ValueError: no run has the metric `value`, or a run lacks the setting `hue`.
    """
    if options.value is not None:
        check_metric(models, options.value, name="value")
    finished = [model for model in models if model.run.state == "finished"]
    run_keys, average_keys = split_varying_settings(finished)
    return lines.draw_each(
        functools.partial(_draw_setting, finished, key, options) for key in run_keys + average_keys
    )


def _draw_setting(
    models: Sequence[ModelRecord], key: str, options: FigureOptions
) -> dict[str, Figure]:
    metric = options.value or main_metric(models)
    numeric = [model for model in models if is_number(model.settings.get(key))]
    shown = list(models) if key == DECAY else numeric
    if len(group_by(numeric, [key])) < 2:  # a single decay besides none is no sweep
        return {}
    values = [model.settings[key] for model in shown]
    scale = categories(values) if key == DECAY else setting_scale(shown, key)
    panel_keys, line_keys = _keys(shown, key, options.hue)
    make = functools.partial(_line, key=key, scale=scale, metric=metric, weights=options.weights)
    panels = lines.make_panels(shown, panel_keys, line_keys, make)
    draw = _draw_error_bars
    if all(len(line.x) == 1 for panel in panels.values() for line in panel.values()):
        if len(runs_of(shown)) <= len(panel_keys) + len(line_keys):
            return {}  # too few to show an effect
        line_keys = [each for each in line_keys if each.startswith("averaged.")]
        panels = lines.make_panels(shown, [], line_keys, make)
        draw = _draw_points
    figures = lines.draw_panels(
        _side_by_side(panels) if scale.kind == "category" else panels,
        name=f"value_against_{slug(key)}",
        x_label=setting_label(key),
        y_label=metric_label(metric),
        line_keys=line_keys,
        draw=draw,
    )
    for figure in figures.values():
        for axis in figure.axes:
            set_x_scale(axis, scale)
        ends = [axis.get_xlim() for axis in figure.axes]
        for axis in figure.axes:
            axis.set_xlim(min(low for low, _ in ends), max(high for _, high in ends))
    return figures


def _keys(models: Sequence[ModelRecord], key: str, hue: str | None) -> tuple[list[str], list[str]]:
    """Return the settings of panels and of lines, given the setting of the x axis."""
    panel_keys, line_keys = lines.panel_and_line_keys(models, None if hue == key else hue)
    if key in line_keys:  # a setting of averages
        panel_keys, line_keys = [], [*panel_keys, *line_keys]
    return [each for each in panel_keys if each != key], [each for each in line_keys if each != key]


def _line(
    models: Sequence[ModelRecord], *, key: str, scale: Scale, metric: str, weights: Weights
) -> lines.Line | None:
    points = (
        (scale.place(model.settings[key]), model.run.seed, y)
        for model in models
        if (y := final_metric(model, metric, weights=weights)) is not None
    )
    return lines.line_over_seeds(points, largest=largest_value(metric))


def _side_by_side(panels: lines.Panels) -> lines.Panels:
    """Shift lines sideways a little so that their error bars do not overlap."""
    return {
        title: {
            label: replace(line, x=line.x + _OFFSET * (number - (len(panel) - 1) / 2))
            for number, (label, line) in enumerate(panel.items())
        }
        for title, panel in panels.items()
    }


def _draw_error_bars(axis: Axes, line: lines.Line, style: LineStyle, label: str) -> None:
    ends = (line.mean - line.low, line.high - line.mean) if line.std.any() else None
    axis.errorbar(line.x, line.mean, yerr=ends, label=label, capsize=2, elinewidth=0.8, **style)


def _draw_points(axis: Axes, line: lines.Line, style: LineStyle, label: str) -> None:
    axis.plot(line.x, line.mean, label=label, **{**style, "linestyle": "none"})
