"""Lines of figures: numbers over epochs or steps, mean and deviation over seeds.

As in tables, runs of one seed count once, and standard deviations have n - 1 in the denominator.
"""

import logging
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from visionlab.analysis.figures.labels import grouped, settings_apart
from visionlab.analysis.figures.legends import put_below
from visionlab.analysis.figures.style import Look, looks, panels
from visionlab.analysis.measures import Model, setting

_MAX_PANELS = 12
MAX_LINES = 14
_NUM_MARKERS = 8
_LONG = 20  # of lines with so many points
_SETTLED = 10  # the limits of an axis leave out the first tenth
_log = logging.getLogger(__name__)

# a number of a model in a row of its run, or None
Read = Callable[[Model, Mapping[str, float | None]], float | None]


@dataclass(frozen=True, kw_only=True)
class Line:
    """Mean and deviation over seeds.

    Attributes:
        x: where there is anything, rising.
        mean: at each x.
        std: at each x; 0 for a single seed.
        num_seeds: at each x.
    """

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    num_seeds: NDArray[np.int64]


Make = Callable[[Sequence[Model]], Line | None]
# by the panel's title, then by the line's label
Panels = Mapping[str, Mapping[str, Line]]
DrawLine = Callable[[Axes, Line, Look, str], None]


def over_seeds(points: Sequence[tuple[float, int, float]]) -> Line | None:
    """Return the line of points `(x, seed, y)`, or None if there are none."""
    by_x: dict[float, dict[int, list[float]]] = {}
    for x, seed, y in points:
        by_x.setdefault(x, {}).setdefault(seed, []).append(y)
    if not by_x:
        return None
    several = [[statistics.fmean(each) for each in by_x[x].values()] for x in sorted(by_x)]
    return Line(
        x=np.array(sorted(by_x), dtype=float),
        mean=np.array([statistics.fmean(each) for each in several]),
        std=np.array([statistics.stdev(each) if len(each) > 1 else 0.0 for each in several]),
        num_seeds=np.array([len(each) for each in several]),
    )


def along_rows(models: Sequence[Model], *, x: str, read: Read) -> Line | None:
    """Return the line of a number over the rows of runs, or None if no row has it.

    Args:
        models: that differ in their seeds alone.
        x: epoch or step.
        read: takes the number from a row.
    """
    return over_seeds(
        [
            (float(row[x] or 0), model.run.seed, y)
            for model in models
            for row in model.run.rows
            if (y := read(model, row)) is not None
        ]
    )


def panels_and_lines(models: Sequence[Model], hue: str | None) -> tuple[list[str], list[str]]:
    """Return the settings that tell panels apart, and those that tell lines apart.

    Averages are lines, unless something else is asked to be: then they are panels.

    Raises:
        ValueError: a run has no such setting.
    """
    of_runs, of_averages = settings_apart(models)
    if hue is None or hue in of_averages:
        return of_runs, of_averages
    for model in models:
        setting(model, hue, name="hue")
    return [key for key in [*of_averages, *of_runs] if key != hue], [hue]


def in_panels(
    models: Sequence[Model], panel_keys: Sequence[str], line_keys: Sequence[str], make: Make
) -> Panels:
    """Return the lines of each panel, in order, by their labels; a panel without any is left out.

    Args:
        models: whose lines they are.
        panel_keys: the settings that tell panels apart.
        line_keys: the settings that tell lines apart.
        make: the line of models that differ in their seeds alone.
    """
    groups = grouped(models, line_keys)
    found: dict[str, dict[str, Line]] = {}
    for title, members in grouped(models, panel_keys):
        here = {id(model) for model in members}
        for label, group in groups:
            line = make([model for model in group if id(model) in here])
            if line is not None:
                found.setdefault(title, {})[label] = line
    return found


def draw_panels(
    lines: Panels,
    *,
    name: str,
    x_label: str,
    y_label: str,
    common: str | None,
    limits: Callable[[Sequence[Line]], tuple[float, float]],
    draw: DrawLine,
) -> Figure | None:
    """Return panels of lines, or None if there is nothing to draw or too much to be read.

    All panels have the same y axis.

    Args:
        lines: of each panel, by their labels.
        name: of the figure, for what is logged.
        x_label: of all panels.
        y_label: of all panels.
        common: what the labels of lines begin with; it is said once.
        limits: what the y axis spans for some lines.
        draw: draws one line.
    """
    every = [line for panel in lines.values() for line in panel.values()]
    labels = list(dict.fromkeys(label for panel in lines.values() for label in panel))
    if not every or are_too_many(name, num_panels=len(lines), num_lines=len(labels)):
        return None
    look = looks(labels)
    figure = panels(len(lines), columns=2 if len(lines) == 4 else 3)
    for (title, panel), axis in zip(lines.items(), figure.axes, strict=True):
        for label, line in panel.items():
            draw(axis, line, look[label], label)
        axis.set_title(textwrap.fill(title, 42))
        axis.set_ylim(*limits(every))
        name_axes(axis, x_label=x_label, y_label=y_label)
        place = axis.get_subplotspec()
        if place is not None and not place.is_first_col():  # the first panel of the row says it
            axis.set_ylabel("")
    add_legend(figure, look, common=common, note=seeds_note(every))
    return figure


def are_too_many(name: str, *, num_panels: int, num_lines: int) -> bool:
    """Return whether nobody could read a figure, and say so."""
    found = [(num_panels, _MAX_PANELS, "panels"), (num_lines, MAX_LINES, "lines")]
    for count, most, what in found:
        if count > most:
            _log.info(
                "%s is left out: %d %s, at most %d can be read; choose runs with where, or a hue",
                *(name, count, what, most),
            )
    return any(count > most for count, most, _ in found)


def draw_line(axis: Axes, line: Line, look: Look, label: str) -> None:
    """Draw a line, and the band of one standard deviation around it if there are several seeds."""
    axis.plot(
        *(line.x, line.mean),
        label=label,
        color=look.color,
        linestyle=look.linestyle,
        marker=look.marker,
        markevery=-(-len(line.x) // _NUM_MARKERS),
    )
    if line.std.any():
        low, high = line.mean - line.std, line.mean + line.std
        axis.fill_between(line.x, low, high, color=look.color, alpha=0.18, linewidth=0)


def settled(lines: Sequence[Line]) -> tuple[float, float]:
    """Return what a y axis spans: lines with their bands, long ones without their first tenth.

    The first epochs of a training would leave of the rest a flat line.
    """
    parts = [slice(len(each.x) // _SETTLED if len(each.x) >= _LONG else 0, None) for each in lines]
    both = list(zip(lines, parts, strict=True))
    low = min((line.mean - line.std)[part].min() for line, part in both)
    high = max((line.mean + line.std)[part].max() for line, part in both)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return float(low - margin), float(high + margin)


def from_zero(lines: Sequence[Line]) -> tuple[float, float]:
    """Return what a y axis from 0 up spans."""
    high = float(max((line.mean + line.std).max() for line in lines)) or 1.0
    return -0.02 * high, 1.05 * high  # a line at 0 is seen whole


def name_axes(axis: Axes, *, x_label: str, y_label: str) -> None:
    """Label the axes of a panel whose x axis counts."""
    axis.set_xlabel(x_label)
    axis.set_ylabel(textwrap.fill(y_label, 28))
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def seeds_note(lines: Sequence[Line]) -> str | None:
    """Return what bands are, or None if there are none: single seeds, or seeds that are alike."""
    low = min(int(line.num_seeds.min()) for line in lines)
    high = max(int(line.num_seeds.max()) for line in lines)
    if not any(line.std.any() for line in lines):
        return None
    return f"mean ± std, {high if low == high else f'{low} to {high}'} seeds"


def add_legend(
    figure: Figure, look: Mapping[str, Look], *, common: str | None, note: str | None
) -> None:
    """Put a legend below the panels; one line that has no name needs none.

    Args:
        figure: made by `style.panels`.
        look: of each line, by its label.
        common: what all labels begin with; it is said once.
        note: said above the lines, or None.
    """
    title = "; ".join(filter(None, (common, note))) or None
    if list(look) == [""]:
        if title is None:
            return
        look, title = {title: look[""]}, None
    handles = [
        Line2D(
            *([], []),
            label=label.removeprefix(f"{common} "),
            color=each.color,
            linestyle=each.linestyle,
            marker=each.marker,
        )
        for label, each in look.items()
    ]
    put_below(figure, handles, title=title)


def are_alike(models: Sequence[Model], read: Read) -> bool:
    """Return whether models have the same number in each epoch, as far as they go."""
    found: dict[float | None, float] = {}
    for model in models:
        for row in model.run.rows:
            y = read(model, row)
            if y is not None and found.setdefault(row["epoch"], y) != y:
                return False
    return True
