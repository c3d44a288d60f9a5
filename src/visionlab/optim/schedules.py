"""Learning-rate schedules: pure functions of the step, without state and without torch.

Those in parts are in `phases.py`, the one with a state in `plateau.py`.

A schedule is called as `schedule(step, total_steps=..., steps_per_epoch=...)` with the number of
optimizer steps done, and returns the factor on the base learning rate. Lengths are given in either
steps or epochs. A warm-up of W steps from ratio r has the factor r + (1 - r) step / W for step < W.
So with W > 0 and r = 0 the first step has a rate of zero, as in the EMA study whose numbers these
schedules reproduce.

A schedule with cycles has a method `cycle_ends` that returns the numbers of finished steps at their
ends, and one with milestones a method `unreached` that describes those beyond the end of the run;
both take `total_steps` and `steps_per_epoch`.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from visionlab.core.checks import check_at_least, check_choice, check_positive, check_range

Every = Literal["step", "epoch"]


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
        warmup_ratio: factor of the first step of a warm-up, in [0, 1].
    """

    warmup_steps: int
    warmup_epochs: int
    warmup_ratio: float

    def __post_init__(self) -> None:
        check_at_least(self, 0, "warmup_steps", "warmup_epochs")
        check_range(self, "[0, 1]", "warmup_ratio")
        check_one_unit("warmup", self.warmup_steps, self.warmup_epochs)


@dataclass(frozen=True, kw_only=True)
class Constant(Warmup):
    """Warm-up, then 1."""

    def __call__(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        """Return the factor at `step`."""
        warmup = warmup_length(self, total_steps, steps_per_epoch)
        return warmup_factor(self, step, warmup) if step < warmup else 1.0


@dataclass(frozen=True, kw_only=True)
class Linear(Warmup):
    """Warm-up, then linear decay to 0 at the end of the run."""

    def __call__(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        """Return the factor at `step`."""
        warmup = warmup_length(self, total_steps, steps_per_epoch)
        if step < warmup:
            return warmup_factor(self, step, warmup)
        return max(0.0, (total_steps - step) / (total_steps - warmup))


@dataclass(frozen=True, kw_only=True)
class Cosine(Warmup):
    """Warm-up, then cosine decay from 1 to 0 at the end of the run.

    SGDR (arXiv 1608.03983), equation 5, without restarts.

    Attributes:
        every: `step`, or `epoch` if the factor only changes with each epoch after the warm-up.
    """

    every: Every

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, get_args(Every), "every")

    def __call__(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        """Return the factor at `step`."""
        warmup = warmup_length(self, total_steps, steps_per_epoch)
        if step < warmup:
            return warmup_factor(self, step, warmup)
        done = step - warmup
        if self.every == "epoch":
            done -= done % steps_per_epoch
        return half_cosine(done / (total_steps - warmup))


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
        check_one_unit("milestone", self.milestone_steps, self.milestone_epochs)
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
            return warmup_factor(self, step, warmup)
        passed = (
            bisect_right(self.milestone_steps, step)
            if self.milestone_steps
            else bisect_right(self.milestone_epochs, step // steps_per_epoch)
        )
        return self.gamma**passed

    def unreached(self, *, total_steps: int, steps_per_epoch: int) -> list[str]:
        """Return the milestones that are not before the end of the run."""
        if self.milestone_steps:
            found = [f"step {step}" for step in self.milestone_steps if step >= total_steps]
        else:
            epochs = total_steps // steps_per_epoch
            found = [f"epoch {epoch}" for epoch in self.milestone_epochs if epoch >= epochs]
        return [f"milestone {each}" for each in found]


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
        check_one_unit("every", self.every_steps, self.every_epochs)
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
            return warmup_factor(self, step, warmup)
        interval = self.every_steps or self.every_epochs * steps_per_epoch
        return float(self.gamma ** (step // interval))


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


def half_cosine(progress: float) -> float:
    """Return the cosine decay from 1 to 0 at a progress from 0 to 1."""
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


def warmup_factor(schedule: Warmup, step: int, length: int) -> float:
    """Return the factor at a step of a warm-up of some length in steps."""
    return schedule.warmup_ratio + (1.0 - schedule.warmup_ratio) * (step / length)


def check_one_unit(name: str, steps: object, epochs: object) -> None:
    """Refuse a length that is given in both units."""
    if steps and epochs:
        raise ValueError(
            f"{name}_steps and {name}_epochs exclude each other, got {steps} and {epochs}"
        )
