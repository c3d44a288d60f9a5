"""Curves over epochs or steps: metrics, and distances of averages."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from visionlab.analysis.figures import lines
from visionlab.analysis.labels import metric_label
from visionlab.analysis.metrics import check_metric, epoch_metric, largest_value, main_metric
from visionlab.analysis.models import ModelRecord
from visionlab.analysis.options import FigureOptions
from visionlab.analysis.records import Row

_Keys = tuple[Sequence[str], Sequence[str]]  # settings that distinguish panels, and lines


def draw_curves(models: Sequence[ModelRecord], options: FigureOptions) -> Mapping[str, Figure]:
    """Draw a metric over epochs or steps: a panel per setting, a line per average.

    With `hue` it is the other way round: a line per value of it, a panel per average. Seeds are
    drawn as their mean with a band of one standard deviation.

    Raises:
        ValueError: no row has the metric `y`, or a run lacks the setting `hue`.
    """
    if options.y is not None:
        _check_rows(models, options.y)
    metric = options.y or _main_curve(models)
    if metric is None:
        return {}
    panel_keys, line_keys = lines.panel_and_line_keys(models, options.hue)
    if not metric.startswith("val/"):  # of the run, whatever its averages
        panel_keys = [key for key in panel_keys if not key.startswith("averaged.")]
        if options.hue is None or options.hue.startswith("averaged."):
            panel_keys, line_keys = [], panel_keys
    limits = lines.limits_from_zero if metric == "lr" else lines.limits_after_start
    read = lines.metric_reader(metric)
    keys, label = (panel_keys, line_keys), metric_label(metric)
    return _draw(
        models,
        keys,
        x=options.x,
        y=label,
        read=read,
        largest=largest_value(metric),
        limits=limits,
        name="curves",
    )


def draw_norms(models: Sequence[ModelRecord], options: FigureOptions) -> Mapping[str, Figure]:
    """Draw the norm of average minus raw weights over the norm of the raw weights.

    A panel per average, a line per setting; with `hue` lines are its values and panels are all
    other settings.

    Raises:
        ValueError: a run lacks the setting `hue`.
    """
    averages = [model for model in models if not model.is_raw]
    label = "‖average \N{MINUS SIGN} weights‖ / ‖weights‖"
    panel_keys, line_keys = lines.panel_and_line_keys(averages, options.hue)
    keys = (line_keys, panel_keys) if options.hue is None else (panel_keys, line_keys)
    return _draw(averages, keys, x=options.x, y=label, read=relative_norm, name="norms")


def relative_norm(model: ModelRecord, row: Row) -> float | None:
    """Return the distance of an average from the raw weights, relative to their norm."""
    difference, weights = row.get(f"norm/model_minus_{model.name}"), row.get("norm/model")
    return difference / weights if difference is not None and weights else None


def _draw(
    models: Sequence[ModelRecord],
    keys: _Keys,
    *,
    x: str,
    y: str,
    read: lines.ReadRow,
    name: str,
    largest: float = np.inf,
    limits: Callable[[Sequence[lines.Line]], lines.Limits] = lines.limits_from_zero,
) -> dict[str, Figure]:
    make = functools.partial(lines.line_over_rows, x=x, read=read, largest=largest)
    panels = lines.make_panels(models, *keys, make)
    return lines.draw_panels(
        panels, name=name, x_label=x, y_label=y, line_keys=keys[1], limits=limits
    )


def _main_curve(models: Sequence[ModelRecord]) -> str | None:
    """Return the main metric on validation, or None if nothing was validated."""
    rows = [row for model in models for row in model.run.rows]
    if not any(key.startswith("val/") for row in rows for key in row):
        return None
    return f"val/{main_metric(models).partition('/')[2]}"


def _check_rows(models: Sequence[ModelRecord], metric: str) -> None:
    check_metric(models, metric, name="y")
    if all(epoch_metric(model, row, metric) is None for model in models for row in model.run.rows):
        raise ValueError(
            f"y must be a metric of each epoch, as val/loss, train/loss or lr, got {metric}"
        )
