"""Learning-rate schedules in parts: cycles with restarts, and phases with their own schedules."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, repeat, takewhile
from typing import NamedTuple, get_args

from visionlab.core.checks import check_at_least, check_choice, check_range
from visionlab.optim.plateau import Plateau
from visionlab.optim.schedules import (
    Every,
    Schedule,
    Warmup,
    check_one_unit,
    half_cosine,
    warmup_factor,
    warmup_length,
)


@dataclass(frozen=True, kw_only=True)
class CosineRestarts(Warmup):
    """Warm-up, then cycles of cosine decay, each down to `min_ratio`.

    SGDR (arXiv 1608.03983), equation 5: t steps into a cycle of P steps with weight w, the factor
    is m + (1 - m) w (1 + cos(pi t / P)) / 2, where m is `min_ratio`. The last length and the last
    weight repeat until the run ends, so `cycle_epochs=[30]` gives cycles of 30 epochs.

    Attributes:
        cycle_epochs: length of each cycle in epochs, or empty.
        cycle_steps: length of each cycle in steps, or empty; one of the two is empty.
        restart_weights: height of each cycle; there may be more than the run has cycles.
        min_ratio: factor at the end of a cycle, in [0, 1].
        every: `step`, or `epoch` if the factor only changes with each epoch of a cycle.
    """

    cycle_epochs: Sequence[int]
    cycle_steps: Sequence[int]
    restart_weights: Sequence[float]
    min_ratio: float
    every: Every

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_unit("cycle", self.cycle_steps, self.cycle_epochs)
        lengths = list(self.cycle_steps or self.cycle_epochs)
        if not lengths or min(lengths) < 1:
            raise ValueError(f"cycle lengths must be numbers >= 1, got {lengths}")
        weights = list(self.restart_weights)
        if not weights or not all(0 < weight < math.inf for weight in weights):
            raise ValueError(f"restart_weights must be numbers > 0, got {weights}")
        check_range(self, "[0, 1]", "min_ratio")
        check_choice(self, get_args(Every), "every")

    def __call__(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        """Return the factor at `step`."""
        warmup = warmup_length(self, total_steps, steps_per_epoch)
        if step < warmup:
            return warmup_factor(self, step, warmup)
        lengths = self._lengths(steps_per_epoch)
        ends = list(accumulate(lengths))
        cycle = bisect_right(ends, step - warmup)
        if cycle < len(lengths):
            done = step - warmup - (ends[cycle] - lengths[cycle])
        else:
            repeats, done = divmod(step - warmup - ends[-1], lengths[-1])
            cycle = len(lengths) + repeats
        if self.every == "epoch":
            done -= done % steps_per_epoch
        weight = self.restart_weights[min(cycle, len(self.restart_weights) - 1)]
        length = lengths[min(cycle, len(lengths) - 1)]
        return self.min_ratio + (1.0 - self.min_ratio) * weight * half_cosine(done / length)

    def cycle_ends(self, *, total_steps: int, steps_per_epoch: int) -> list[int]:
        """Return the numbers of finished steps at the ends of whole cycles."""
        lengths = self._lengths(steps_per_epoch)
        every = chain(lengths, repeat(lengths[-1]))
        ends = accumulate(every, initial=warmup_length(self, total_steps, steps_per_epoch))
        return list(takewhile(lambda end: end <= total_steps, ends))[1:]

    def _lengths(self, steps_per_epoch: int) -> list[int]:
        unit = 1 if self.cycle_steps else steps_per_epoch
        return [length * unit for length in self.cycle_steps or self.cycle_epochs]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Part of a run, with a schedule of its own.

    The factor is `last_factor` + (`first_factor` - `last_factor`) s, where s is the factor of
    `schedule`, for which the phase is the run: steps and epochs count from its start.

    Attributes:
        schedule: of the phase, mostly from 1 to 0.
        length_steps: length in steps, or 0.
        length_epochs: length in epochs, or 0; both are 0 for the last phase, the rest of the run.
        first_factor: factor where `schedule` has 1, at least 0.
        last_factor: factor where `schedule` has 0, at least 0.
    """

    schedule: Schedule
    length_steps: int
    length_epochs: int
    first_factor: float
    last_factor: float

    def __post_init__(self) -> None:
        check_at_least(self, 0, "length_steps", "length_epochs")
        check_one_unit("length", self.length_steps, self.length_epochs)
        for name in ("first_factor", "last_factor"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number >= 0, got {getattr(self, name)}")
        if isinstance(self.schedule, Plateau):
            raise ValueError("schedule must be a function of the step, got Plateau, which is not")


class _Span(NamedTuple):
    """Where a phase lies in a run, in steps."""

    name: str
    phase: Phase
    start: int
    length: int

    def factor(self, step: int, steps_per_epoch: int) -> float:
        first, last = self.phase.first_factor, self.phase.last_factor
        try:
            factor = self.phase.schedule(
                step - self.start, total_steps=self.length, steps_per_epoch=steps_per_epoch
            )
        except ValueError as error:
            raise ValueError(f"phases.{self.name}.schedule.{error}") from error
        return last + (first - last) * factor


@dataclass(frozen=True, kw_only=True)
class Phases:
    """Phases that follow each other, each with its own schedule.

    Attributes:
        phases: by name, in their order.
    """

    phases: Mapping[str, Phase]

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError("phases must hold at least one phase, got none")
        *others, (last, phase) = self.phases.items()
        if phase.length_steps or phase.length_epochs:
            raise ValueError(f"phases.{last} must have length 0, the rest of the run, as the last")
        for name, phase in others:
            if not (phase.length_steps or phase.length_epochs):
                raise ValueError(f"phases.{name} must have a length > 0, got 0")

    def __call__(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        """Return the factor at `step`."""
        spans = self._spans(total_steps, steps_per_epoch)
        if step == 0:
            for span in spans:  # so that no phase is refused in the middle of a run
                span.factor(span.start, steps_per_epoch)
        span = next(span for span in reversed(spans) if span.start <= step)
        return span.factor(step, steps_per_epoch)

    def cycle_ends(self, *, total_steps: int, steps_per_epoch: int) -> list[int]:
        """Return the numbers of finished steps at the ends of whole cycles of all phases."""
        return [
            span.start + end
            for span in self._spans(total_steps, steps_per_epoch)
            for end in cycle_ends(
                span.phase.schedule, total_steps=span.length, steps_per_epoch=steps_per_epoch
            )
        ]

    def unreached(self, *, total_steps: int, steps_per_epoch: int) -> list[str]:
        """Return the milestones that are not before the end of their phase."""
        return [
            f"{each} of phase {span.name}"
            for span in self._spans(total_steps, steps_per_epoch)
            for each in unreached(
                span.phase.schedule, total_steps=span.length, steps_per_epoch=steps_per_epoch
            )
        ]

    def _spans(self, total_steps: int, steps_per_epoch: int) -> list[_Span]:
        spans, start = [], 0
        for name, phase in self.phases.items():
            if start >= total_steps:
                raise ValueError(
                    f"phases.{name} must start within the run of {total_steps} steps "
                    f"({steps_per_epoch} per epoch), got a start after {start}"
                )
            length = phase.length_steps or phase.length_epochs * steps_per_epoch
            spans.append(_Span(name, phase, start, length or total_steps - start))
            start += spans[-1].length
        return spans


def cycle_ends(schedule: Schedule, *, total_steps: int, steps_per_epoch: int) -> list[int]:
    """Return the numbers of finished steps at the ends of a schedule's cycles, if it has some."""
    find = getattr(schedule, "cycle_ends", None)
    return find(total_steps=total_steps, steps_per_epoch=steps_per_epoch) if find else []


def unreached(schedule: Schedule, *, total_steps: int, steps_per_epoch: int) -> list[str]:
    """Return the milestones of a schedule that a run does not reach."""
    find = getattr(schedule, "unreached", None)
    return find(total_steps=total_steps, steps_per_epoch=steps_per_epoch) if find else []
