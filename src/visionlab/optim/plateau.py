"""A schedule that lowers the learning rate when a metric stops improving.

The other schedules are functions of the step. This one also has a state, which checkpoints save, so
that a run resumes exactly.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, SupportsFloat, get_args

from visionlab.core.checks import check_choice, check_range
from visionlab.optim.schedules import Constant, Every, Schedule, warmup_length

TRAIN_LOSS = "train/loss"
Mode = Literal["min", "max"]


@dataclass(kw_only=True)
class PlateauState:
    """Progress of a `Plateau`, saved in checkpoints.

    Attributes:
        factor: multiplier of the learning rate.
        best: best smoothed value so far, None before the first value.
        num_bad: values without improvement since the best one or the last reduction.
        mean: exponential mean of the values, not corrected for its start at 0.
        num_values: values in the mean.
    """

    factor: float = 1.0
    best: float | None = None
    num_bad: int = 0
    mean: float = 0.0
    num_values: int = 0


@dataclass(frozen=True, kw_only=True)
class Plateau(Constant):
    """Warm-up, then 1, reduced by `gamma` whenever a metric does not improve for `patience` values.

    Patience, threshold and factor work as in torch's `ReduceLROnPlateau` with `threshold_mode=rel`
    and no cooldown: a value improves if it is below (1 - threshold) times the best or, for `max`,
    above (1 + threshold) times; the rate drops at the first value after `patience` others without
    improvement. A non-finite value never improves. Values during the warm-up are ignored.

    Attributes:
        monitor: key of the metrics rows: `train/loss` or `val/<model>/<metric>`.
        mode: `min` or `max`, the better direction.
        every: `step` checks the loss of each step, `epoch` each row that has the metric.
        gamma: factor of one reduction, in (0, 1).
        patience_epochs: epochs without improvement before the rate is lowered; may be a fraction
            for `every=step`.
        patience_steps: the same in steps; exactly one of the two is 0.
        threshold: relative, in [0, 1).
        smoothing: weight of past values in a bias-corrected exponential mean (arXiv 1412.6980,
            section 3); 0 uses the values themselves.
        min_ratio: lower bound of the total reduction factor.
    """

    monitor: str
    mode: Mode
    every: Every
    gamma: float
    patience_epochs: float
    patience_steps: int
    threshold: float
    smoothing: float
    min_ratio: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, get_args(Mode), "mode")
        check_choice(self, get_args(Every), "every")
        if self.every == "step" and self.monitor != TRAIN_LOSS:
            raise ValueError(f"monitor must be {TRAIN_LOSS} for every=step, got {self.monitor!r}")
        check_range(self, "(0, 1)", "gamma")
        check_range(self, "[0, 1)", "threshold", "smoothing")
        check_range(self, "[0, 1]", "min_ratio")
        self._check_patience()

    def _check_patience(self) -> None:
        epochs, steps = self.patience_epochs, self.patience_steps
        if not (0 <= epochs < math.inf and steps >= 0) or bool(epochs) == bool(steps):
            raise ValueError(
                "one of patience_epochs and patience_steps must be > 0 and the other 0, "
                f"got {epochs} and {steps}"
            )
        if self.every == "epoch" and (steps or epochs != int(epochs)):
            raise ValueError(
                "patience_epochs must be a whole number for every=epoch, "
                f"got {epochs} and patience_steps {steps}"
            )

    def update(self, state: PlateauState, value: float, *, patience: int) -> None:
        """Add one value; lower the rate after more than `patience` values without improvement."""
        if math.isfinite(value):
            state.num_values += 1
            state.mean = self.smoothing * state.mean + (1.0 - self.smoothing) * value
            value = state.mean / (1.0 - self.smoothing**state.num_values)
        if self._is_better(value, state.best):
            state.best, state.num_bad = value, 0
        else:
            state.num_bad += 1
        if state.num_bad > patience:
            state.factor, state.num_bad = max(state.factor * self.gamma, self.min_ratio), 0

    def _is_better(self, value: float, best: float | None) -> bool:
        if best is None or not math.isfinite(value):
            return math.isfinite(value)
        if self.mode == "min":
            return value < best * (1.0 - self.threshold)
        return value > best * (1.0 + self.threshold)


@dataclass(frozen=True, kw_only=True)
class PlateauTracker:
    """Feeds losses and metrics rows of a run to its `Plateau`; does nothing without one.

    Attributes:
        plateau: the schedule, or None.
        patience: values without improvement before the rate is lowered.
        warmup_steps: steps during which values are ignored.
        every_epochs: epochs between rows that have the metric.
    """

    plateau: Plateau | None
    patience: int
    warmup_steps: int
    every_epochs: int

    def after_step(self, state: PlateauState, loss: SupportsFloat, *, step: int) -> None:
        """Add the loss of step `step`, counted from 1, for `every=step`."""
        if self.plateau and self.plateau.every == "step" and step > self.warmup_steps:
            self.plateau.update(state, float(loss), patience=self.patience)

    def after_epoch(self, state: PlateauState, row: Mapping[str, float]) -> None:
        """Add a metrics row for `every=epoch`; skip extra rows that a stopping rule caused."""
        is_due = row["epoch"] % self.every_epochs == 0 and row["step"] > self.warmup_steps
        if self.plateau and self.plateau.every == "epoch" and is_due:
            self.plateau.update(state, row[self.plateau.monitor], patience=self.patience)


NO_PLATEAU = PlateauTracker(plateau=None, patience=0, warmup_steps=0, every_epochs=1)


def make_plateau_tracker(
    schedule: Schedule, *, total_steps: int, steps_per_epoch: int, every_epochs: int
) -> PlateauTracker:
    """Return the tracker of a schedule, which does nothing unless it is a `Plateau`.

    The run validates after every `every_epochs` epochs.

    Raises:
        ValueError: patience or warm-up does not fit the run.
    """
    if not isinstance(schedule, Plateau):
        return NO_PLATEAU
    every_epochs = 1 if schedule.monitor == TRAIN_LOSS else every_epochs
    if schedule.every == "step":
        patience = schedule.patience_steps or round(schedule.patience_epochs * steps_per_epoch)
        if not patience:
            raise ValueError(
                f"patience_epochs must be at least one step, 1/{steps_per_epoch} of an epoch, "
                f"got {schedule.patience_epochs}"
            )
    else:
        patience, remainder = divmod(int(schedule.patience_epochs), every_epochs)
        if remainder:
            raise ValueError(
                f"patience_epochs must be a multiple of evaluation.every_epochs {every_epochs}, "
                f"got {schedule.patience_epochs:g}"
            )
    warmup = warmup_length(schedule, total_steps, steps_per_epoch)
    return PlateauTracker(
        plateau=schedule, patience=patience, warmup_steps=warmup, every_epochs=every_epochs
    )
