"""Axes of settings: where their values stand, and which get a tick."""

import itertools
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from visionlab.analysis.figures.labels import value_label
from visionlab.analysis.values import is_number, order

_DECADE = 10
_MAX_TICKS = 7
_MAX_LETTERS = 34  # that a panel's width has room for
_MIN_GAP = 0.08  # between ticks with a label, as a share of the axis


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The axis of a setting.

    Attributes:
        kind: of the axis; categories are evenly spaced.
        values: that runs have, each once, in order.
    """

    kind: Literal["linear", "log", "category"]
    values: Sequence[Any]

    def place(self, value: Any) -> float:
        """Return where a value stands on the axis."""
        return float(self.values.index(value)) if self.kind == "category" else float(value)

    def share(self, value: float) -> float:
        """Return how far along the axis a place is: 0 for the first value, 1 for the last."""
        low, high = self.place(self.values[0]), self.place(self.values[-1])
        if self.kind == "log":
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Return places and labels of ticks: all values, if there is room, or round numbers."""
        exact = [(self.place(each), value_label(each)) for each in self.values]
        shares = [self.share(place) for place, _ in exact]
        gaps = [after - before for before, after in itertools.pairwise(shares)]
        if self.kind == "category" or (
            len(exact) <= _MAX_TICKS and min(gaps, default=1) > _MIN_GAP
        ):
            return exact
        low, high = self.place(self.values[0]), self.place(self.values[-1])
        locator = LogLocator(numticks=_MAX_TICKS) if self.kind == "log" else MaxNLocator(5)
        places = [float(each) for each in locator.tick_values(low, high) if low <= each <= high]
        return [(each, value_label(each)) for each in (places if len(places) > 1 else (low, high))]


def scale_of(values: Sequence[Any]) -> Scale:
    """Return the axis for the values of a setting.

    It is logarithmic if positive numbers span more than a factor of 10 and lie more evenly so;
    what is not a number is a category.
    """
    distinct = _distinct(values)
    if not all(is_number(each) for each in distinct):
        return Scale(kind="category", values=distinct)
    numbers = [float(each) for each in distinct]
    is_wide = numbers[0] > 0 and numbers[-1] > _DECADE * numbers[0]
    is_log = is_wide and _unevenness([math.log(each) for each in numbers]) <= _unevenness(numbers)
    return Scale(kind="log" if is_log else "linear", values=distinct)


def categories(values: Sequence[Any]) -> Scale:
    """Return an axis on which all values are evenly spaced."""
    return Scale(kind="category", values=_distinct(values))


def set_x_scale(axis: Axes, scale: Scale) -> None:
    """Give the x axis of a panel its kind and ticks."""
    if scale.kind == "log":
        axis.set_xscale("log")
    places, labels = zip(*scale.ticks(), strict=True)
    is_crowded = sum(len(label) + 2 for label in labels) > _MAX_LETTERS
    axis.set_xticks(places, labels, rotation=30 if is_crowded else 0)
    axis.xaxis.set_minor_formatter(NullFormatter())


def _distinct(values: Sequence[Any]) -> list[Any]:
    found = {json.dumps(each, default=str): each for each in values}
    return sorted(found.values(), key=order)


def _unevenness(numbers: Sequence[float]) -> float:
    """Return how much the gaps between numbers differ, relative to their mean."""
    gaps = [after - before for before, after in itertools.pairwise(numbers)]
    return statistics.pstdev(gaps) / statistics.fmean(gaps)
