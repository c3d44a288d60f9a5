"""Search spaces: overrides in the syntax of Hydra's Optuna sweeper, as plain records.

This module imports neither Optuna nor torch, so that a wrong space is refused at once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from visionlab.config.overrides import sweep_values

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A choice of values, each as written on the command line."""

    values: Sequence[str]

    def suggest(self, trial: "Trial", key: str) -> str:
        """Draw a value, as written on the command line."""
        return str(trial.suggest_categorical(key, self.values))

    def extremes(self) -> Sequence[str]:
        """Return values whose validity implies that of all others."""
        return self.values


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Numbers from `low` to `high`, inclusive; integers if both bounds are integers."""

    low: float
    high: float
    step: float | None = None  # distance between neighbours, None for a continuous range
    log: bool = False  # draw on a logarithmic scale

    def suggest(self, trial: "Trial", key: str) -> str:
        """Draw a value, as written on the command line."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            step = 1 if self.step is None else int(self.step)
            return str(trial.suggest_int(key, self.low, self.high, step=step, log=self.log))
        return str(trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log))

    def extremes(self) -> Sequence[str]:
        """Return values whose validity implies that of all others."""
        return [str(self.low), str(self.high)]


Space = Mapping[str, Choices | Interval]


def split_overrides(overrides: Sequence[Override]) -> tuple[Space, dict[str, str]]:
    """Split overrides into the search space and fixed values, by key; the last of a key counts.

    Raises:
        ValueError: a space is empty, reversed, or of an unsupported kind.
    """
    space: dict[str, Choices | Interval] = {}
    fixed: dict[str, str] = {}
    for override in overrides:
        key = override.get_key_element()
        for earlier in [each for each in (*space, *fixed) if each.lstrip("+") == key.lstrip("+")]:
            space.pop(earlier, None)
            fixed.pop(earlier, None)
        if override.is_sweep_override():
            space[key] = _axis(key, override)
        else:
            fixed[key] = "" if override.is_delete() else override.get_value_element_as_str()
    return space, fixed


def as_override(key: str, value: str) -> str:
    """Return an override as written on the command line."""
    return key if key.startswith("~") else f"{key}={value}"


def _axis(key: str, override: Override) -> Choices | Interval:
    sweep, text = override.value(), override.get_value_string()
    if "log" in getattr(sweep, "tags", ()) and not isinstance(sweep, IntervalSweep):
        raise ValueError(f"{key} must be an interval to be tagged log, got {text}")
    if isinstance(sweep, IntervalSweep):
        return _interval(key, sweep, text)
    if isinstance(sweep, RangeSweep):
        return _range(key, sweep, text)
    values = sweep_values(override)
    if not values or len(set(values)) < len(values):
        raise ValueError(f"{key} must be a choice of different values, got {text}")
    return Choices(values=values)


def _interval(key: str, sweep: IntervalSweep, text: str) -> Interval:
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    if low is None or high is None or not -math.inf < low < high < math.inf:
        raise ValueError(
            f"{key} must be an interval from a lower to a higher finite number, got {text}"
        )
    if log and low <= 0:
        raise ValueError(f"{key} must be an interval above 0 to be tagged log, got {text}")
    return Interval(low=low, high=high, log=log)


def _range(key: str, sweep: RangeSweep, text: str) -> Interval:
    """Return the interval of a range, which excludes its stop as in Hydra and Python."""
    start, stop, step = sweep.start or 0, sweep.stop, sweep.step
    if stop is None or not math.isfinite(start + stop + step) or step <= 0 or start >= stop:
        raise ValueError(
            f"{key} must be a range from a lower to a higher finite number, got {text}"
        )
    num_steps = math.ceil((stop - start) / step - 1e-9) - 1  # 0.3 / 0.1 is a little below 3
    high = start + num_steps * step
    if not isinstance(high, int):
        start, high = float(start), float(f"{high:.12g}")
    return Interval(low=start, high=high, step=step)
