"""Panels of lines: a metric over epochs, steps or a setting, with mean and std over seeds."""

import logging
import statistics
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from visionlab.analysis.figures.style import LineStyle, legend_below, line_styles, panel_grid
from visionlab.analysis.groups import group_by
from visionlab.analysis.labels import shared_prefix
from visionlab.analysis.metrics import epoch_metric
from visionlab.analysis.models import ModelRecord, get_setting, split_varying_settings
from visionlab.analysis.records import Row
from visionlab.analysis.statistics import mean_by_seed, std

MAX_LINES = 14
_MOST = {"panels": 12, "lines": MAX_LINES, "figures": 12, "bars": 400, "axes": 12}
_NUM_MARKERS = 8
_LONG = 20  # number of points from which on a line is long
_log = logging.getLogger(__name__)


class LeftOut(Exception):  # noqa: N818 - not an error
    """The reason why a figure is not drawn although there are data for it."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Mean and standard deviation, 0 for a single seed, over seeds at each x, which increases.

    `possible` has the ends of the range of possible values, beyond which no band reaches.
    """

    x: NDArray[np.float64]  # (N,), as all others
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    num_seeds: NDArray[np.int64]
    possible: tuple[float, float]

    @property
    def low(self) -> NDArray[np.float64]:
        """Mean minus standard deviation, as far as possible."""
        return np.minimum(self.mean, np.maximum(self.mean - self.std, self.possible[0]))

    @property
    def high(self) -> NDArray[np.float64]:
        """Mean plus standard deviation, as far as possible."""
        return np.maximum(self.mean, np.minimum(self.mean + self.std, self.possible[1]))


# metric of a model in a row of its run, or None
ReadRow = Callable[[ModelRecord, Row], float | None]
# line of models that differ only in their seeds, or None
MakeLine = Callable[[Sequence[ModelRecord]], Line | None]
# by panel title, then by line label
Panels = Mapping[str, Mapping[str, Line]]
DrawLine = Callable[[Axes, Line, LineStyle, str], object]
Limits = tuple[float, float]


def line_over_seeds(points: Iterable[tuple[float, int, float]], *, largest: float) -> Line | None:
    """Return the line through points `(x, seed, y)`, or None if there are none.

    `largest` is the largest possible y; the least is 0 unless there are negative ones.
    """
    by_x: dict[float, list[tuple[int, float]]] = {}
    for x, seed, y in points:
        by_x.setdefault(x, []).append((seed, y))
    if not by_x:
        return None
    values = [list(mean_by_seed(by_x[x]).values()) for x in sorted(by_x)]
    return Line(
        x=np.array(sorted(by_x), dtype=float),
        mean=np.array([statistics.fmean(each) for each in values]),
        std=np.array([std(each) for each in values]),
        num_seeds=np.array([len(each) for each in values]),
        possible=(0.0 if min(map(min, values)) >= 0 else -np.inf, largest),
    )


def line_over_rows(
    models: Sequence[ModelRecord], *, x: str, read: ReadRow, largest: float
) -> Line | None:
    """Return the line of a metric over epoch or step, or None if no row of the runs has it."""
    points = (
        (float(place), model.run.seed, y)
        for model in models
        for row in model.run.rows
        if (place := row.get(x)) is not None and (y := read(model, row)) is not None
    )
    return line_over_seeds(points, largest=largest)


def metric_reader(metric: str) -> ReadRow:
    """Return a function that reads a metric from rows."""
    return lambda model, row: epoch_metric(model, row, metric)


def panel_and_line_keys(
    models: Sequence[ModelRecord], hue: str | None
) -> tuple[list[str], list[str]]:
    """Return the settings that distinguish panels, and those that distinguish lines.

    Without a hue the averages of a run are lines; with one they are panels.

    Raises:
        ValueError: a run lacks the setting `hue`.
    """
    of_runs, of_averages = split_varying_settings(models)
    if hue is None or hue in of_averages:
        return of_runs, of_averages
    for model in models:
        get_setting(model, hue, name="hue")
    return [key for key in [*of_averages, *of_runs] if key != hue], [hue]


def make_panels(
    models: Sequence[ModelRecord],
    panel_keys: Sequence[str],
    line_keys: Sequence[str],
    make_line: MakeLine,
) -> Panels:
    """Return the lines of each panel, sorted; panels without lines are left out.

    `panel_keys` and `line_keys` are the settings that distinguish panels and lines.
    """
    groups = group_by(models, line_keys)
    panels: dict[str, dict[str, Line]] = {}
    for title, members in group_by(models, panel_keys):
        here = set(map(id, members))
        for label, group in groups:
            line = make_line([model for model in group if id(model) in here])
            if line is not None:
                panels.setdefault(title, {})[label] = line
    return panels


def draw_line(axis: Axes, line: Line, style: LineStyle, label: str) -> None:
    """Draw the mean, and a band of one standard deviation if there are several seeds."""
    axis.plot(line.x, line.mean, label=label, markevery=-(-len(line.x) // _NUM_MARKERS), **style)
    if line.std.any():
        axis.fill_between(
            line.x, line.low, line.high, color=style["color"], alpha=0.18, linewidth=0
        )


def limits_after_start(lines: Sequence[Line]) -> Limits:
    """Return y limits that fit lines and bands, without the first tenth of long lines.

    The first epochs of a training would flatten the rest.
    """
    low, high = np.inf, -np.inf
    for line in lines:
        shown = slice(len(line.x) // 10 if len(line.x) >= _LONG else 0, None)
        low = min(low, float(line.low[shown].min()))
        high = max(high, float(line.high[shown].max()))
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def limits_from_zero(lines: Sequence[Line]) -> Limits:
    """Return y limits from zero up that fit lines and bands."""
    high = float(max(line.high.max() for line in lines)) or 1.0
    return -0.02 * high, 1.05 * high  # a line at 0 is visible


def draw_panels(
    panels: Panels,
    *,
    name: str,
    x_label: str,
    y_label: str,
    line_keys: Sequence[str],
    limits: Callable[[Sequence[Line]], Limits] = limits_after_start,
    draw: DrawLine = draw_line,
) -> dict[str, Figure]:
    """Return a figure by its name; none if there are no lines.

    `limits` returns the limits of the y axis, which all panels share.

    Raises:
        LeftOut: there are too many panels or lines to be legible.
    """
    lines = [line for panel in panels.values() for line in panel.values()]
    styles = line_styles(label for panel in panels.values() for label in panel)
    if not lines:
        return {}
    check_legible(name, panels=len(panels), lines=len(styles))
    figure = panel_grid(len(panels), columns=2 if len(panels) == 4 else 3)
    for (title, panel), axis in zip(panels.items(), figure.axes, strict=True):
        for label, line in panel.items():
            draw(axis, line, styles[label], label)
        axis.set_title(textwrap.fill(title, 42))
        axis.set_ylim(*limits(lines))
        label_axes(axis, x=x_label, y=y_label)
        place = axis.get_subplotspec()
        if place is not None and not place.is_first_col():
            axis.set_ylabel("")
    add_legend(figure, styles, prefix=shared_prefix(line_keys), note=seeds_note(lines))
    return {name: figure}


def draw_each(makers: Iterable[Callable[[], Mapping[str, Figure]]]) -> dict[str, Figure]:
    """Return the figures of some functions; of those left out, the reasons are logged.

    Raises:
        LeftOut: there are none but those left out.
    """
    figures: dict[str, Figure] = {}
    reasons: list[LeftOut] = []
    for make in makers:
        try:
            figures |= make()
        except LeftOut as error:
            reasons.append(error)
    if reasons and not figures:
        raise LeftOut("\n".join(map(str, reasons)))
    for reason in reasons:
        _log.info("%s", reason)
    return figures


def check_legible(name: str, **counts: int) -> None:
    """Refuse too many of something that `_MOST` lists.

    Raises:
        LeftOut: there are.
    """
    for what, count in counts.items():
        if count > _MOST[what]:
            hint = "select runs with where, or set hue"
            raise LeftOut(f"{name} is left out: {count} {what}, at most {_MOST[what]}; {hint}")


def check_long_enough(name: str, *, num_epochs: int, least: int) -> None:
    """Refuse too few epochs for a figure about each of them.

    Raises:
        LeftOut: there are.
    """
    if num_epochs < least:
        raise LeftOut(f"{name} is left out: {num_epochs} epochs, at least {least}")


def label_axes(axis: Axes, *, x: str, y: str) -> None:
    """Label the axes of a panel with whole numbers on its x axis."""
    axis.set_xlabel(x)
    axis.set_ylabel(textwrap.fill(y, 28))
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def seeds_note(lines: Sequence[Line]) -> str | None:
    """Return what bands show, or None if there are none."""
    if not any(line.std.any() for line in lines):
        return None
    low = min(int(line.num_seeds.min()) for line in lines)
    high = max(int(line.num_seeds.max()) for line in lines)
    return f"mean ± std, {high if low == high else f'{low} to {high}'} seeds"


def add_legend(
    figure: Figure,
    styles: Mapping[str, LineStyle],
    *,
    prefix: str | None,
    note: str | None,
    extra: Mapping[str, Line2D] | None = None,
) -> None:
    """Add a legend of lines and of `extra` entries; a single line without label needs none.

    The prefix of all labels moves to the title, which has the note too.
    """
    title = "; ".join(filter(None, (prefix, note))) or None
    handles = {
        label.removeprefix(f"{prefix} "): Line2D([], [], **style)
        for label, style in styles.items()
        if label
    }
    handles |= extra or {}
    if handles:
        legend_below(figure, handles, title=title)
    elif title is not None:
        legend_below(figure, {title: Line2D([], [], **styles[""])})
