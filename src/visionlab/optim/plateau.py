"""A schedule that lowers the rate when a number of the run no longer gets better.

The other schedules are functions of the step. This one also has a state, which the run saves with
the rest, so that it goes on exactly.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, SupportsFloat, get_args

from visionlab.optim.schedules import Constant, Schedule, warmup_length

TRAIN_LOSS = "train/loss"
Every = Literal["step", "epoch"]
Mode = Literal["min", "max"]


@dataclass(kw_only=True)
class PlateauState:
    """What a `Plateau` has seen.

    Attributes:
        factor: on the learning rate.
        best: value so far, smoothed; None before the first.
        num_bad: values since then, or since the last reduction, that were no better.
        mean: exponential mean of the values, with the weight that the start at 0 still has.
        num_values: how many are in it.
    """

    factor: float = 1.0
    best: float | None = None
    num_bad: int = 0
    mean: float = 0.0
    num_values: int = 0


@dataclass(frozen=True, kw_only=True)
class Plateau(Constant):
    """Warm-up, then 1; times `gamma` whenever a number was no better for longer than a patience.

    Patience, threshold and factor are those of torch's `ReduceLROnPlateau` with `threshold_mode`
    rel and without cooldown: a value is better if it is below (1 - threshold) times the best, or
    for `max` above (1 + threshold) times, and the rate falls at the value after `patience` that are
    not. What is not finite is no better. Nothing is looked at in the warm-up.

    Attributes:
        monitor: a key of the metrics rows: `train/loss`, or `val/<model>/<number>`.
        mode: whether less or more of it is better.
        every: `step` looks at the loss of each step, `epoch` at each row that has the number.
        gamma: factor of one reduction, in (0, 1).
        patience_epochs: how long no better is borne; for each step it may be a fraction.
        patience_steps: the same in steps; one of the two is 0.
        threshold: relative, in [0, 1).
        smoothing: weight of the past in an exponential mean of the values, corrected for its start
            (arXiv 1412.6980, section 3); 0 looks at the values themselves.
        min_ratio: the rate does not fall below this share of what it was.
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
        for name, choices in (("mode", get_args(Mode)), ("every", get_args(Every))):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}"
                )
        if self.every == "step" and self.monitor != TRAIN_LOSS:
            raise ValueError(f"monitor must be {TRAIN_LOSS} for every=step, got {self.monitor!r}")
        if not 0.0 < self.gamma < 1.0:
            raise ValueError(f"gamma must be in (0, 1), got {self.gamma}")
        for name in ("threshold", "smoothing"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not 0.0 <= self.min_ratio <= 1.0:
            raise ValueError(f"min_ratio must be in [0, 1], got {self.min_ratio}")
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

    def see(self, state: PlateauState, value: float, *, patience: int) -> None:
        """Take in one value; `patience` is how many no better ones are borne."""
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
class Watch:
    """What looks at a run for its `Plateau`; without one, at nothing.

    Attributes:
        plateau: the schedule.
        patience: in values.
        warmup_steps: how long nothing is looked at.
        every_epochs: how far apart the rows are that have the number.
    """

    plateau: Plateau | None
    patience: int
    warmup_steps: int
    every_epochs: int

    def after_step(self, state: PlateauState, loss: SupportsFloat, *, step: int) -> None:
        """See the loss of step number `step`, counted from 1; only where each step counts."""
        if self.plateau and self.plateau.every == "step" and step > self.warmup_steps:
            self.plateau.see(state, float(loss), patience=self.patience)

    def after_epoch(self, state: PlateauState, row: Mapping[str, float]) -> None:
        """See a metrics row; one cut short by a rule, or validated only for its sake, is none."""
        is_due = row["epoch"] % self.every_epochs == 0 and row["step"] > self.warmup_steps
        if self.plateau and self.plateau.every == "epoch" and is_due:
            self.plateau.see(state, row[self.plateau.monitor], patience=self.patience)


NO_WATCH = Watch(plateau=None, patience=0, warmup_steps=0, every_epochs=1)


def watch_for(
    schedule: Schedule, *, total_steps: int, steps_per_epoch: int, every_epochs: int
) -> Watch:
    """Return what looks at a run for a schedule.

    Args:
        schedule: any; most need nobody to look.
        total_steps: of the run.
        steps_per_epoch: likewise.
        every_epochs: how often the run validates.

    Raises:
        ValueError: patience or warm-up does not fit the run.
    """
    if not isinstance(schedule, Plateau):
        return NO_WATCH
    every_epochs = 1 if schedule.monitor == TRAIN_LOSS else every_epochs
    if schedule.every == "step":
        patience = schedule.patience_steps or round(schedule.patience_epochs * steps_per_epoch)
        if not patience:
            raise ValueError(
                f"patience_epochs must be a step of {steps_per_epoch} an epoch or more, "
                f"got {schedule.patience_epochs}"
            )
    else:
        patience, rest = divmod(int(schedule.patience_epochs), every_epochs)
        if rest:
            raise ValueError(
                f"patience_epochs must be a multiple of evaluation.every_epochs {every_epochs}, "
                f"got {schedule.patience_epochs:g}"
            )
    return Watch(
        plateau=schedule,
        patience=patience,
        warmup_steps=warmup_length(schedule, total_steps, steps_per_epoch),
        every_epochs=every_epochs,
    )
