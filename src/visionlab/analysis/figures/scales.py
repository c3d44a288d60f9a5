"""Axes of settings: positions of values, and ticks."""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from visionlab.analysis.labels import value_label
from visionlab.analysis.models import ModelRecord
from visionlab.analysis.values import distinct, is_number

_DECADE = 10
_MAX_TICKS = 7
_MAX_LETTERS = 34  # in the width of a panel
_MIN_GAP = 0.08  # between labelled ticks, as a share of the axis


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The axis of a setting; categories are evenly spaced."""

    kind: Literal["linear", "log", "category"]
    values: Sequence[Any]  # distinct and sorted

    def place(self, value: Any) -> float:
        """Return the position of a value on the axis."""
        return float(self.values.index(value)) if self.kind == "category" else float(value)

    def share(self, value: float) -> float:
        """Return a position as a share of the axis: 0 for the first value, 1 for the last."""
        low, high = self.place(self.values[0]), self.place(self.values[-1])
        if self.kind == "log":
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Return positions and labels of ticks: all values if there is room, else round numbers."""
        exact = [(self.place(each), value_label(each)) for each in self.values]
        shares = [self.share(place) for place, _ in exact]
        gaps = [after - before for before, after in itertools.pairwise(shares)]
        if self.kind == "category" or (
            len(exact) <= _MAX_TICKS and min(gaps, default=1) > _MIN_GAP
        ):
            return exact
        low, high = self.place(self.values[0]), self.place(self.values[-1])
        is_whole = all(isinstance(each, int) for each in self.values)  # as epochs
        linear = MaxNLocator(5, integer=is_whole)
        locator = LogLocator(numticks=_MAX_TICKS) if self.kind == "log" else linear
        places = [float(each) for each in locator.tick_values(low, high) if low <= each <= high]
        return [(each, value_label(each)) for each in (places if len(places) > 1 else (low, high))]


def setting_scale(models: Sequence[ModelRecord], key: str) -> Scale:
    """Return an axis for the values of a setting.

    Values that are not numbers are categories. Positive numbers have a log axis if they were
    searched on one, or if they span more than a factor of 10 and are more evenly spaced that way.
    """
    is_searched = any(key in model.run.log_settings for model in models)
    return scale_of([model.settings.get(key) for model in models], is_log=is_searched)


def scale_of(values: Sequence[Any], *, is_log: bool) -> Scale:
    """Return an axis for some values, logarithmic if positive numbers are so or `is_log`."""
    found = distinct(values)
    if not all(is_number(each) for each in found):
        return categories(values)
    numbers = [float(each) for each in found]
    is_wide = numbers[0] > 0 and numbers[-1] > _DECADE * numbers[0]
    if not (is_log and numbers[0] > 0):
        is_log = is_wide and _unevenness(list(map(math.log, numbers))) <= _unevenness(numbers)
    return Scale(kind="log" if is_log else "linear", values=found)


def categories(values: Sequence[Any]) -> Scale:
    """Return an axis with all values evenly spaced."""
    return Scale(kind="category", values=distinct(values))


def set_x_scale(axis: Axes, scale: Scale) -> None:
    """Set kind and ticks of the x axis of a panel."""
    if scale.kind == "log":
        axis.set_xscale("log")
    places, labels = zip(*scale.ticks(), strict=True)
    is_crowded = sum(len(label) + 2 for label in labels) > _MAX_LETTERS
    axis.set_xticks(places, labels, rotation=30 if is_crowded else 0)
    axis.xaxis.set_minor_formatter(NullFormatter())


def _unevenness(numbers: Sequence[float]) -> float:
    """Return the spread of the gaps between numbers, relative to their mean."""
    gaps = [after - before for before, after in itertools.pairwise(numbers)]
    return statistics.pstdev(gaps) / statistics.fmean(gaps)
