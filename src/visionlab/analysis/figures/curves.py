"""Curves over epochs or steps: metrics, distances of averages, and learning rates."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from visionlab.analysis.figures import lines
from visionlab.analysis.groups import group_by
from visionlab.analysis.labels import metric_label
from visionlab.analysis.metrics import check_metric, epoch_metric, largest_value, main_metric
from visionlab.analysis.models import ModelRecord, split_varying_settings
from visionlab.analysis.options import FigureOptions, PlannedOptions, Schedule
from visionlab.analysis.records import Row

_MAX_POINTS = 1000  # of a planned schedule
_Keys = tuple[Sequence[str], Sequence[str]]  # settings that distinguish panels, and lines
_read_lr = lines.metric_reader("lr")


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


def draw_schedules(models: Sequence[ModelRecord], options: FigureOptions) -> Mapping[str, Figure]:
    """Draw the learning rate at the end of each epoch, a line per schedule.

    Only settings that change the learning rate distinguish lines.
    """
    raw = [model for model in models if model.is_raw]
    return _draw(
        raw,
        ([], _rate_settings(raw)),
        x=options.x,
        y="learning rate",
        read=_read_lr,
        name="schedules",
    )


def draw_planned_schedules(
    schedules: Mapping[str, Schedule], options: PlannedOptions
) -> Mapping[str, Figure]:
    """Draw the learning rate of each step of a training, without any run.

    Raises:
        ValueError: there are no schedules, too many to tell apart, or one that does not fit the
            training.
    """
    count, most = len(schedules), lines.MAX_LINES
    if not 1 <= count <= most:
        raise ValueError(f"planned.schedulers must be 1 to {most}, got {count}")
    epoch_steps = options.steps_per_epoch
    total = options.epochs * epoch_steps
    steps = np.unique(np.linspace(0, total - 1, _MAX_POINTS).round().astype(int))
    planned = {}
    for label, schedule in schedules.items():
        rate = functools.partial(schedule, total_steps=total, steps_per_epoch=epoch_steps)
        planned[label] = lines.Line(
            x=(steps + 1) / epoch_steps,  # the end of the step, as in the rows of runs
            mean=options.lr * np.array([rate(step) for step in steps.tolist()]),
            std=np.zeros(len(steps)),
            num_seeds=np.ones(len(steps), dtype=int),
            possible=(0.0, np.inf),
        )
    return lines.draw_panels(
        {"": planned},
        name="planned_schedules",
        x_label="epoch",
        y_label="learning rate",
        line_keys=[],
        limits=lines.limits_from_zero,
    )


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


def _rate_settings(models: Sequence[ModelRecord]) -> list[str]:
    """Return the varying settings, without those that do not change the learning rate."""
    keys, _ = split_varying_settings(models)
    for key in list(keys):
        fewer = [each for each in keys if each != key]
        groups = group_by(models, fewer)
        has_merged = len(groups) < len(group_by(models, keys))
        if has_merged and all(_have_equal_rates(members) for _, members in groups):
            keys = fewer
    return keys


def _have_equal_rates(models: Sequence[ModelRecord]) -> bool:
    """Return whether models have the same learning rate in each epoch that they share."""
    rates: dict[float | None, float] = {}
    for model in models:
        for row in model.run.rows:
            rate = _read_lr(model, row)
            if rate is not None and rates.setdefault(row["epoch"], rate) != rate:
                return False
    return True
