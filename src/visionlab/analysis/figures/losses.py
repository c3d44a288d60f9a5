"""Losses of several runs in one panel, whose y axis may be cut."""

import functools
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from visionlab.analysis.figures import lines
from visionlab.analysis.figures.style import NUM_COLOURS, line_styles, panel_grid
from visionlab.analysis.groups import group_by
from visionlab.analysis.labels import shared_prefix
from visionlab.analysis.models import ModelRecord, split_varying_settings
from visionlab.analysis.options import FigureOptions

_METRICS = {"training": "train/loss", "validation": "val/loss"}
_DASHES: dict[str, Any] = {"training": "-", "validation": (0, (4, 2))}
_MAX_RATIO = 100  # of the largest loss to the median on a linear axis
_CUT_MARK: dict[str, Any] = {
    "marker": [(-1, -0.6), (1, 0.6)],
    "markersize": 7,
    "linestyle": "none",
    "color": "black",
    "clip_on": False,
}


class _Loss(NamedTuple):
    label: str
    split: str
    line: lines.Line


def draw_losses(models: Sequence[ModelRecord], options: FigureOptions) -> Mapping[str, Figure]:
    """Draw training and validation losses over epochs or steps, a colour per setting.

    If there are more settings than colours, only training losses are drawn. `broken_axis` cuts the
    range between its two losses out of the y axis; without it, the axis is logarithmic if a loss
    exploded.

    Raises:
        ValueError: all losses are on one side of `broken_axis`.
    """
    raw = [model for model in models if model.is_raw]
    keys, _ = split_varying_settings(raw)
    losses = _losses(raw, keys, options.x)
    styles = line_styles(loss.label for loss in losses)
    if not losses:
        return {}
    lines.check_legible("losses", lines=len(styles))
    return {"losses": _draw(losses, keys, options)}


def _losses(models: Sequence[ModelRecord], keys: Sequence[str], x: str) -> list[_Loss]:
    groups = group_by(models, keys)
    splits = list(_METRICS)[: 2 if len(groups) <= NUM_COLOURS else 1]
    make = functools.partial(lines.line_over_rows, x=x, largest=math.inf)
    return [
        _Loss(label, split, line)
        for label, members in groups
        for split in splits
        if (line := make(members, read=lines.metric_reader(_METRICS[split])))
    ]


def _draw(losses: Sequence[_Loss], keys: Sequence[str], options: FigureOptions) -> Figure:
    styles = line_styles(loss.label for loss in losses)
    splits = list(dict.fromkeys(loss.split for loss in losses))
    dashes = {split: {"linestyle": _DASHES[split]} for split in splits if len(splits) > 1}
    if dashes:
        styles = {label: {**style, "linestyle": "none"} for label, style in styles.items()}
    figure = _axes(losses, options.broken_axis)
    for axis, loss in itertools.product(figure.axes, losses):
        style = {**styles[loss.label], **dashes.get(loss.split, {})}
        lines.draw_line(axis, loss.line, style, loss.label)
    y_label = "loss" if dashes else f"{splits[0]} loss"
    lines.label_axes(figure.axes[-1], x=options.x, y=y_label)
    figure.axes[0].set_ylabel(y_label)
    figure.align_ylabels()
    lines.add_legend(
        figure,
        styles,
        prefix=shared_prefix(keys),
        note=lines.seeds_note([loss.line for loss in losses]),
        extra={split: Line2D([], [], color="0.4", **dash) for split, dash in dashes.items()},
    )
    return figure


def _axes(losses: Sequence[_Loss], ends: tuple[float, float] | None) -> Figure:
    values = [float(y) for loss in losses for y in loss.line.mean]
    if ends is not None:
        return _broken_axes(values, ends)
    figure = panel_grid(1)
    if min(values) > 0 and max(values) > _MAX_RATIO * statistics.median(values):
        figure.axes[0].set_yscale("log")
        figure.axes[0].set_ylim(min(values) / 1.3, max(values) * 1.3)
    else:
        figure.axes[0].set_ylim(*lines.limits_after_start([loss.line for loss in losses]))
    return figure


def _broken_axes(values: Sequence[float], ends: tuple[float, float]) -> Figure:
    """Return two axes, one above the other, without the range between two losses."""
    low, high = ends
    below, above = [y for y in values if y <= low], [y for y in values if y >= high]
    if not below or not above:
        raise ValueError(
            f"broken_axis must have losses on both sides, which are {min(values):.4g} to "
            f"{max(values):.4g}, got {list(ends)}"
        )
    figure = panel_grid(2, height=1.5, columns=1)
    upper, lower = figure.axes
    upper.sharex(lower)
    margins = 0.08 * (max(above) - high), 0.08 * (low - min(below))
    upper.set_ylim(high, max(above) + (margins[0] or 0.1 * abs(high) or 1.0))
    lower.set_ylim(min(below) - (margins[1] or 0.1 * abs(low) or 1.0), low)
    upper.spines.bottom.set_visible(False)
    upper.tick_params(axis="x", bottom=False, labelbottom=False)
    upper.plot([0], [0], transform=upper.transAxes, **_CUT_MARK)
    lower.plot([0], [1], transform=lower.transAxes, **_CUT_MARK)
    return figure
