"""Losses of several runs in one picture, whose y axis may leave a range out."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from visionlab.analysis.asked import Asked
from visionlab.analysis.figures.labels import by_task, common_label, grouped, settings_apart
from visionlab.analysis.figures.lines import (
    Line,
    add_handles,
    along_rows,
    are_too_many,
    draw_line,
    name_axes,
    seeds_note,
    settled,
)
from visionlab.analysis.figures.style import Look, looks, panels, styled
from visionlab.analysis.measures import Model, in_row

_DASHES: dict[str, Any] = {"training": "-", "validation": (0, (4, 2))}
_VALUES = {"training": "train/loss", "validation": "val/loss"}
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

    With a `broken_axis` the range between its two values is left out of the y axis. Each task has
    a figure of its own.

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
        with styled():
            figure = panels(1) if asked.broken_axis is None else _broken(losses, asked.broken_axis)
            for axis in figure.axes:
                for loss in losses:
                    its = replace(look[loss.label], linestyle=_DASHES[loss.split])
                    draw_line(axis, loss.line, its, loss.label)
            _name_axes(figure.axes, losses, asked)
            _add_legend(figure, losses, look, keys)
        figures[name] = figure
    return figures


def _losses(models: Sequence[Model], keys: Sequence[str], x: str) -> list[_Loss]:
    return [
        _Loss(label=label, split=split, line=line)
        for label, members in grouped(models, keys)
        for split, value in _VALUES.items()
        if (line := along_rows(members, x=x, read=functools.partial(in_row, value=value)))
    ]


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


def _name_axes(axes: Sequence[Axes], losses: Sequence[_Loss], asked: Asked) -> None:
    name_axes(axes[-1], x_label=asked.x, y_label="loss")
    if asked.broken_axis is None:
        axes[-1].set_ylim(*settled([loss.line for loss in losses]))
    else:
        axes[0].set_ylabel("loss")


def _add_legend(
    figure: Figure, losses: Sequence[_Loss], look: Mapping[str, Look], keys: Sequence[str]
) -> None:
    common, note = common_label(keys), seeds_note([loss.line for loss in losses])
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
    for split, dashes in _DASHES.items():
        if split in {loss.split for loss in losses}:
            handles.append(Line2D([], [], label=split, color="0.4", linestyle=dashes))
    add_handles(figure, handles, title="; ".join(filter(None, (common, note))) or None)
