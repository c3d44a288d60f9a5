"""Lines of figures: numbers over epochs or steps, mean and deviation over seeds.

As in tables, runs of one seed count once, and standard deviations have n - 1 in the denominator.
"""

import logging
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from visionlab.analysis.figures.labels import common_label, grouped, settings_apart
from visionlab.analysis.figures.style import Look, looks, panels
from visionlab.analysis.measures import Model, setting

_MAX_PANELS = 12
_MAX_LINES = 14
_NUM_MARKERS = 8
_LEGEND_ROW = 0.2  # inches
_SETTLED = 10  # limits of an axis leave out the first tenth of each line
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


def draw_panels(
    models: Sequence[Model],
    *,
    name: str,
    panel_keys: Sequence[str],
    line_keys: Sequence[str],
    x: str,
    read: Read,
    y_label: str,
) -> Figure | None:
    """Return panels of lines, or None if there is nothing to draw or there are too many.

    All panels have the same y axis. It spans what is there after the first tenth of each line, as
    the first epochs of a training would leave of the rest a flat line.

    Args:
        models: what is drawn.
        name: of the figure, for what is logged.
        panel_keys: the settings that tell panels apart.
        line_keys: the settings that tell lines apart.
        x: epoch or step.
        read: takes the number from a row.
        y_label: of the number.
    """
    lines = [
        (panel, label, line)
        for panel, members in grouped(models, panel_keys)
        for label, group in grouped(members, line_keys)
        if (line := along_rows(group, x=x, read=read)) is not None
    ]
    titles = list(dict.fromkeys(panel for panel, *_ in lines))
    labels = [label for label, _ in grouped(models, line_keys)]
    labels = [label for label in labels if label in {each for _, each, _ in lines}]
    if not lines or are_too_many(name, num_panels=len(titles), num_lines=len(labels)):
        return None
    look = looks(labels)
    figure = panels(len(titles))
    for title, axis in zip(titles, figure.axes, strict=True):
        for label, line in [(label, line) for panel, label, line in lines if panel == title]:
            draw_line(axis, line, look[label], label=label)
        finish(axis, title=title, x=x, y_label=y_label)
        axis.set_ylim(*limits([line for *_, line in lines]))
    label_outer_panels(figure)
    note = seeds_note([line for *_, line in lines])
    add_legend(figure, look, common=common_label(line_keys), note=note)
    return figure


def are_too_many(name: str, *, num_panels: int, num_lines: int) -> bool:
    """Return whether nobody could read a figure, and say so."""
    found = [(num_panels, _MAX_PANELS, "panels"), (num_lines, _MAX_LINES, "lines")]
    for count, most, what in found:
        if count > most:
            _log.info(
                "%s is left out: %d %s, at most %d can be read; choose runs with where, or a hue",
                *(name, count, what, most),
            )
    return any(count > most for count, most, _ in found)


def draw_line(axis: Axes, line: Line, look: Look, **changes: Any) -> None:
    """Draw a line, and the band of one standard deviation around it if there are several seeds."""
    given = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker}
    every = -(-len(line.x) // _NUM_MARKERS)
    axis.plot(line.x, line.mean, markevery=every, **{**given, **changes})
    if line.num_seeds.max() > 1:
        low, high = line.mean - line.std, line.mean + line.std
        axis.fill_between(line.x, low, high, color=look.color, alpha=0.18, linewidth=0)


def limits(lines: Sequence[Line]) -> tuple[float, float]:
    """Return what a y axis spans: all lines with their bands, without their first tenth."""
    low = min((line.mean - line.std)[len(line.x) // _SETTLED :].min() for line in lines)
    high = max((line.mean + line.std)[len(line.x) // _SETTLED :].max() for line in lines)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return float(low - margin), float(high + margin)


def finish(axis: Axes, *, title: str, x: str, y_label: str) -> None:
    """Give a panel its name and axes."""
    axis.set_title(textwrap.fill(title, 42))
    axis.set_xlabel(x)
    axis.set_ylabel(y_label)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def seeds_note(lines: Sequence[Line]) -> str | None:
    """Return what bands are, or None for single seeds."""
    low = min(int(line.num_seeds.min()) for line in lines)
    high = max(int(line.num_seeds.max()) for line in lines)
    if high == 1:
        return None
    return f"mean ± std, {high if low == high else f'{low} to {high}'} seeds"


def label_outer_panels(figure: Figure) -> None:
    """Leave the name of the y axis to the first panel of each row; the others have the same."""
    for axis in figure.axes:
        place = axis.get_subplotspec()
        if place is not None and not place.is_first_col():
            axis.set_ylabel("")


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
    if list(look) == [""] and title is None:
        return
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
    add_handles(figure, handles, title=title)


def add_handles(figure: Figure, handles: Sequence[Line2D], *, title: str | None) -> None:
    """Put a legend of lines below the panels, in as many columns as fit; the figure grows by it."""
    inches = 0.65 + 0.075 * max(len(str(each.get_label())) for each in handles)
    columns = max(1, min(len(handles), int(figure.get_figwidth() / inches)))
    rows = -(-len(handles) // columns) + (title is not None)
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW * rows)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        title=title,
        title_fontsize="medium",
        handlelength=2.8,
        columnspacing=1.2,
    )


def are_alike(models: Sequence[Model], read: Read) -> bool:
    """Return whether models have the same number in each epoch, as far as they go."""
    found: dict[float | None, float] = {}
    for model in models:
        for row in model.run.rows:
            y = read(model, row)
            if y is not None and found.setdefault(row["epoch"], y) != y:
                return False
    return True
