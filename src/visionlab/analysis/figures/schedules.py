"""Learning rates of runs, and of trainings that have not run."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from visionlab.analysis.figures import lines
from visionlab.analysis.groups import group_by
from visionlab.analysis.models import ModelRecord, split_varying_settings
from visionlab.analysis.options import FigureOptions, PlannedOptions, Schedule
from visionlab.analysis.records import RunRecord
from visionlab.analysis.values import is_number

_MAX_POINTS = 1000  # of a line
_Rates = Callable[[int], float]  # by the number of finished steps
# returns the schedule of a run by its settings, None if it cannot be had
LoadRunSchedule = Callable[[Mapping[str, Any]], Schedule | None]
_read_lr = lines.metric_reader("lr")


def draw_schedules(
    models: Sequence[ModelRecord],
    options: FigureOptions,
    load_schedule: LoadRunSchedule | None = None,
) -> Mapping[str, Figure]:
    """Draw the learning rate over epochs or steps, a line per schedule.

    It is that of each step if `load_schedule` gives a schedule that agrees with the rows of the
    run, else the rate at the end of each epoch. Only settings that change it distinguish lines.
    """
    raw = [model for model in models if model.is_raw]
    keys = _rate_settings(raw)

    def make(group: Sequence[ModelRecord]) -> lines.Line | None:
        longest = max((model.run for model in group), key=lambda run: len(run.rows), default=None)
        of_steps = longest and load_schedule and _line_of_run(longest, options.x, load_schedule)
        return of_steps or lines.line_over_rows(group, x=options.x, read=_read_lr, largest=np.inf)

    return lines.draw_panels(
        lines.make_panels(raw, [], keys, make),
        name="schedules",
        x_label=options.x,
        y_label="learning rate",
        line_keys=keys,
        limits=lines.limits_from_zero,
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
    planned = {
        label: _line_of_rates(
            _rates(schedule, options.lr, num_steps=total, epoch_steps=epoch_steps),
            total,
            steps_per_x=epoch_steps,
        )
        for label, schedule in schedules.items()
    }
    return lines.draw_panels(
        {"": planned},
        name="planned_schedules",
        x_label="epoch",
        y_label="learning rate",
        line_keys=[],
        limits=lines.limits_from_zero,
    )


def _line_of_run(run: RunRecord, x: str, load_schedule: LoadRunSchedule) -> lines.Line | None:
    """Return the rate of each step, None if the schedule is unknown or disagrees with the rows.

    It disagrees if it has a state, as a plateau has, or was another one then.
    """
    schedule = load_schedule(run.settings)
    rows = [(row.get("step"), row["epoch"], row.get("lr")) for row in run.rows]
    epochs: Any = run.settings.get("hparams.epochs")
    lr: Any = run.settings.get("optimizer.lr")
    if schedule is None or not rows or not all(map(is_number, (epochs, lr, *chain(*rows)))):
        return None
    known = np.array(rows, dtype=float)  # (N, 3)
    if known[:, :2].min() <= 0:
        return None
    epoch_steps = round(known[0, 0] / known[0, 1])
    rate = _rates(schedule, lr, num_steps=epoch_steps * epochs, epoch_steps=epoch_steps)
    try:
        rates = [rate(int(step) - 1) for step in known[:, 0]]
    except (ValueError, TypeError, ArithmeticError):
        return None
    if not np.allclose(rates, known[:, 2], rtol=1e-6, atol=0):
        return None
    return _line_of_rates(rate, int(known[-1, 0]), steps_per_x=epoch_steps if x == "epoch" else 1)


def _rates(schedule: Schedule, lr: float, *, num_steps: int, epoch_steps: int) -> _Rates:
    """Return the learning rate as a function of the number of finished steps."""
    return lambda step: lr * schedule(step, total_steps=num_steps, steps_per_epoch=epoch_steps)


def _line_of_rates(rate: _Rates, num_steps: int, *, steps_per_x: int) -> lines.Line:
    """Return the rate of each step, of many steps only some."""
    steps = np.unique(np.linspace(0, num_steps - 1, _MAX_POINTS).round().astype(int))
    return lines.Line(
        x=(steps + 1) / steps_per_x,  # the end of the step, as in the rows of runs
        mean=np.array([rate(step) for step in steps.tolist()]),
        std=np.zeros(len(steps)),
        num_seeds=np.ones(len(steps), dtype=int),
        possible=(0.0, np.inf),
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
