"""Losses of several runs in one picture, whose y axis may leave a range out."""

import functools
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from visionlab.analysis.asked import Asked
from visionlab.analysis.figures.labels import by_task, common_label, grouped, settings_apart
from visionlab.analysis.figures.legends import put_below
from visionlab.analysis.figures.lines import (
    Line,
    add_legend,
    along_rows,
    are_too_many,
    draw_line,
    name_axes,
    seeds_note,
    settled,
)
from visionlab.analysis.figures.style import NUM_COLOURS, Look, looks, panels, styled
from visionlab.analysis.measures import Model, in_row

_DASHES: dict[str, Any] = {"training": "-", "validation": (0, (4, 2))}
_VALUES = {"training": "train/loss", "validation": "val/loss"}
_OUT_OF_PROPORTION = 100  # times the median
_MARK: dict[str, Any] = {
    "marker": [(-1, -0.6), (1, 0.6)],
    "markersize": 7,
    "linestyle": "none",
    "color": "black",
    "clip_on": False,
}


@dataclass(frozen=True, kw_only=True)
class _Loss:
    """The loss of some runs on one split."""

    label: str
    split: str
    line: Line


def draw_losses(asked: Asked) -> Mapping[str, Figure]:
    """Draw the losses of training and validation over epochs or steps, a colour for each setting.

    Of more settings than there are colours, the loss of training alone. With a `broken_axis` the
    range between its two values is left out of the y axis; without one, the axis is logarithmic
    where a loss grew out of all proportion. Each task has a figure of its own.

    Raises:
        ValueError: `broken_axis` leaves out all that there is on one side of it.
    """
    in_training = [model for model in asked.models if model.name == "model"]
    figures: dict[str, Figure] = {}
    for name, models in by_task(in_training, "losses"):
        keys, _ = settings_apart(models)
        losses = _losses(models, keys, asked.x)
        look = looks(list(dict.fromkeys(loss.label for loss in losses)))
        if not losses or are_too_many(name, num_panels=1, num_lines=len(look)):
            continue
        splits = list(dict.fromkeys(loss.split for loss in losses))
        with styled():
            figure = _axes(losses, asked.broken_axis)
            for axis, loss in itertools.product(figure.axes, losses):
                its = look[loss.label]
                if len(splits) > 1:
                    its = replace(its, linestyle=_DASHES[loss.split])
                draw_line(axis, loss.line, its, loss.label)
            what = "loss" if len(splits) > 1 else f"{splits[0]} loss"
            name_axes(figure.axes[-1], x_label=asked.x, y_label=what)
            if asked.broken_axis is not None:
                figure.axes[0].set_ylabel(what)
                figure.align_ylabels()
            note = seeds_note([loss.line for loss in losses])
            if len(splits) > 1:
                _add_legend(figure, splits, look, common=common_label(keys), note=note)
            else:
                add_legend(figure, look, common=common_label(keys), note=note)
        figures[name] = figure
    return figures


def _losses(models: Sequence[Model], keys: Sequence[str], x: str) -> list[_Loss]:
    groups = grouped(models, keys)
    values = list(_VALUES.items())[: 2 if len(groups) <= NUM_COLOURS else 1]
    return [
        _Loss(label=label, split=split, line=line)
        for label, members in groups
        for split, value in values
        if (line := along_rows(members, x=x, read=functools.partial(in_row, value=value)))
    ]


def _axes(losses: Sequence[_Loss], ends: tuple[float, float] | None) -> Figure:
    """Return axes that span the losses."""
    if ends is not None:
        return _broken(losses, ends)
    figure = panels(1)
    values = [float(y) for loss in losses for y in loss.line.mean]
    if min(values) > 0 and max(values) > _OUT_OF_PROPORTION * statistics.median(values):
        figure.axes[0].set_yscale("log")
        figure.axes[0].set_ylim(min(values) / 1.3, max(values) * 1.3)
    else:
        figure.axes[0].set_ylim(*settled([loss.line for loss in losses]))
    return figure


def _broken(losses: Sequence[_Loss], ends: tuple[float, float]) -> Figure:
    """Return two axes, one above the other, that leave out what is between two losses."""
    low, high = ends
    values = [float(y) for loss in losses for y in loss.line.mean]
    below, above = [y for y in values if y <= low], [y for y in values if y >= high]
    if not below or not above:
        raise ValueError(
            f"broken_axis must have losses on both sides, which are {min(values):.4g} to "
            f"{max(values):.4g}, got {list(ends)}"
        )
    figure = panels(2, height=1.5, columns=1)
    upper, lower = figure.axes
    upper.sharex(lower)
    margins = 0.08 * (max(above) - high), 0.08 * (low - min(below))
    upper.set_ylim(high, max(above) + (margins[0] or 0.1 * abs(high) or 1.0))
    lower.set_ylim(min(below) - (margins[1] or 0.1 * abs(low) or 1.0), low)
    upper.spines.bottom.set_visible(False)
    upper.tick_params(axis="x", bottom=False, labelbottom=False)
    upper.plot([0], [0], transform=upper.transAxes, **_MARK)
    lower.plot([0], [1], transform=lower.transAxes, **_MARK)
    return figure


def _add_legend(
    figure: Figure,
    splits: Sequence[str],
    look: Mapping[str, Look],
    *,
    common: str | None,
    note: str | None,
) -> None:
    """Put a legend below: of settings the colour and marker, of splits the dashes."""
    handles = [
        Line2D(
            *([], []),
            label=label.removeprefix(f"{common} "),
            color=each.color,
            marker=each.marker,
            linestyle="none",
        )
        for label, each in look.items()
        if label
    ]
    handles += [
        Line2D([], [], label=split, color="0.4", linestyle=_DASHES[split]) for split in splits
    ]
    put_below(figure, handles, title="; ".join(filter(None, (common, note))) or None)
