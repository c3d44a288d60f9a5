"""Learning-rate schedules: pure functions of the step, without state and without torch.

The schedule with a state is in `plateau.py`.

A schedule is called as `schedule(step, total_steps=..., steps_per_epoch=...)` with the number of
optimizer steps done, and returns the factor on the base learning rate. Lengths are given in either
steps or epochs. A warm-up of W steps has the factor step / W for step < W. So with W > 0 the first
step has a rate of zero, as in the EMA study whose numbers these schedules reproduce.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from visionlab.core.checks import check_at_least, check_positive, check_range


class Schedule(Protocol):
    """Factor on the learning rate as a function of the step."""

    def __call__(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        """Return the factor of the next step after `step` finished steps."""


@dataclass(frozen=True, kw_only=True)
class Warmup:
    """Settings of a linear warm-up, in steps or in epochs.

    Attributes:
        warmup_steps: length of the warm-up in steps, or 0.
        warmup_epochs: length of the warm-up in epochs, or 0; one of the two is 0.
    """

    warmup_steps: int
    warmup_epochs: int

    def __post_init__(self) -> None:
        check_at_least(self, 0, "warmup_steps", "warmup_epochs")
        _check_one_unit("warmup", self.warmup_steps, self.warmup_epochs)


@dataclass(frozen=True, kw_only=True)
class Constant(Warmup):
    """Warm-up, then 1."""

    def __call__(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        """Return the factor at `step`."""
        warmup = warmup_length(self, total_steps, steps_per_epoch)
        return step / warmup if step < warmup else 1.0


@dataclass(frozen=True, kw_only=True)
class Linear(Warmup):
    """Warm-up, then linear decay to 0 at the end of the run."""

    def __call__(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        """Return the factor at `step`."""
        warmup = warmup_length(self, total_steps, steps_per_epoch)
        if step < warmup:
            return step / warmup
        return max(0.0, (total_steps - step) / (total_steps - warmup))


@dataclass(frozen=True, kw_only=True)
class Cosine(Warmup):
    """Warm-up, then cosine decay from 1 to 0 at the end of the run.

    SGDR (arXiv 1608.03983), equation 5, without restarts.
    """

    def __call__(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        """Return the factor at `step`."""
        warmup = warmup_length(self, total_steps, steps_per_epoch)
        if step < warmup:
            return step / warmup
        return _half_cosine((step - warmup) / (total_steps - warmup))


@dataclass(frozen=True, kw_only=True)
class MultiStep(Warmup):
    """Warm-up, then decay by `gamma` at each milestone, counted from the start of the run.

    Attributes:
        milestone_epochs: epochs after which the rate decays, increasing; or empty.
        milestone_steps: steps after which the rate decays, increasing; one of the two is empty.
        gamma: factor of one decay, in (0, 1].
    """

    milestone_epochs: Sequence[int]
    milestone_steps: Sequence[int]
    gamma: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_one_unit("milestone", self.milestone_steps, self.milestone_epochs)
        milestones = list(self.milestone_steps or self.milestone_epochs)
        if not milestones or milestones[0] < 1 or milestones != sorted(set(milestones)):
            raise ValueError(
                f"milestones must be strictly increasing numbers >= 1, got {milestones}"
            )
        check_range(self, "(0, 1]", "gamma")

    def __call__(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        """Return the factor at `step`."""
        warmup = warmup_length(self, total_steps, steps_per_epoch)
        if step < warmup:
            return step / warmup
        passed = (
            bisect_right(self.milestone_steps, step)
            if self.milestone_steps
            else bisect_right(self.milestone_epochs, step // steps_per_epoch)
        )
        return self.gamma**passed


@dataclass(frozen=True, kw_only=True)
class Step(Warmup):
    """Warm-up, then decay by `gamma` at a fixed interval, counted from the start of the run.

    Attributes:
        every_epochs: epochs between decays, or 0.
        every_steps: steps between decays, or 0; one of the two is 0.
        gamma: factor of one decay, in (0, 1].
    """

    every_epochs: int
    every_steps: int
    gamma: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_one_unit("every", self.every_steps, self.every_epochs)
        if max(self.every_steps, self.every_epochs) < 1:
            raise ValueError(
                "every_steps or every_epochs must be >= 1, "
                f"got every_steps={self.every_steps} every_epochs={self.every_epochs}"
            )
        check_range(self, "(0, 1]", "gamma")

    def __call__(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        """Return the factor at `step`."""
        warmup = warmup_length(self, total_steps, steps_per_epoch)
        if step < warmup:
            return step / warmup
        interval = self.every_steps or self.every_epochs * steps_per_epoch
        return float(self.gamma ** (step // interval))


@dataclass(frozen=True, kw_only=True)
class CosineRestarts(Warmup):
    """Warm-up, then cycles of cosine decay, each down to `min_ratio`.

    SGDR (arXiv 1608.03983), equation 5: t steps into a cycle of P steps with weight w, the factor
    is m + (1 - m) w (1 + cos(pi t / P)) / 2, where m is `min_ratio`. The last length and the last
    weight repeat until the run ends, so `cycle_epochs=[30]` gives cycles of 30 epochs.

    Attributes:
        cycle_epochs: length of each cycle in epochs, or empty.
        cycle_steps: length of each cycle in steps, or empty; one of the two is empty.
        restart_weights: height of each cycle.
        min_ratio: factor at the end of a cycle, in [0, 1].
    """

    cycle_epochs: Sequence[int]
    cycle_steps: Sequence[int]
    restart_weights: Sequence[float]
    min_ratio: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_one_unit("cycle", self.cycle_steps, self.cycle_epochs)
        lengths = list(self.cycle_steps or self.cycle_epochs)
        if not lengths or min(lengths) < 1:
            raise ValueError(f"cycle lengths must be numbers >= 1, got {lengths}")
        weights = list(self.restart_weights)
        if not 1 <= len(weights) <= len(lengths) or not all(
            0 < weight < math.inf for weight in weights
        ):
            raise ValueError(
                f"restart_weights must be 1 to {len(lengths)} numbers > 0, got {weights}"
            )
        check_range(self, "[0, 1]", "min_ratio")

    def __call__(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        """Return the factor at `step`."""
        warmup = warmup_length(self, total_steps, steps_per_epoch)
        if step < warmup:
            return step / warmup
        unit = 1 if self.cycle_steps else steps_per_epoch
        lengths = [length * unit for length in self.cycle_steps or self.cycle_epochs]
        ends = list(accumulate(lengths))
        cycle = bisect_right(ends, step - warmup)
        if cycle < len(lengths):
            done = step - warmup - (ends[cycle] - lengths[cycle])
        else:
            cycle, done = len(lengths) - 1, (step - warmup - ends[-1]) % lengths[-1]
        weight = self.restart_weights[min(cycle, len(self.restart_weights) - 1)]
        return self.min_ratio + (1.0 - self.min_ratio) * weight * _half_cosine(
            done / lengths[cycle]
        )


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """Exponential sweep from one learning rate to another over the run.

    For finding a good rate, not for training. L. Smith's range test (arXiv 1506.01186, section 3.3)
    raises the rate linearly; this one moves on a logarithmic scale, up or down.

    Attributes:
        start_lr: rate of the first step.
        end_lr: rate of the last step.
        base_lr: the optimizer's rate, which the factor multiplies.
    """

    start_lr: float
    end_lr: float
    base_lr: float

    def __post_init__(self) -> None:
        check_positive(self, "start_lr", "end_lr", "base_lr")
        if self.start_lr == self.end_lr:
            raise ValueError(f"end_lr must differ from start_lr {self.start_lr}, got {self.end_lr}")

    def __call__(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        """Return the factor at `step`."""
        progress = step / max(1, total_steps - 1)
        return float(self.start_lr ** (1 - progress) * self.end_lr**progress / self.base_lr)


def _half_cosine(progress: float) -> float:
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


def warmup_length(schedule: Warmup, total_steps: int, steps_per_epoch: int) -> int:
    """Return the length of the warm-up in steps.

    Raises:
        ValueError: no step is left after the warm-up.
    """
    length = schedule.warmup_steps or schedule.warmup_epochs * steps_per_epoch
    if length >= total_steps:
        name = "warmup_steps" if schedule.warmup_steps else "warmup_epochs"
        raise ValueError(
            f"{name} must be shorter than the run of {total_steps} steps "
            f"({steps_per_epoch} per epoch), got {getattr(schedule, name)}"
        )
    return length


def _check_one_unit(name: str, steps: object, epochs: object) -> None:
    if steps and epochs:
        raise ValueError(
            f"{name}_steps and {name}_epochs exclude each other, got {steps} and {epochs}"
        )
