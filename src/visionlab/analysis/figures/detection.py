"""Precision-recall curves of detectors, and the average precision of each class."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from visionlab.analysis.figures.lines import check_legible
from visionlab.analysis.figures.style import (
    LineStyle,
    legend_below,
    line_styles,
    panel_grid,
)
from visionlab.analysis.groups import SeedGroup, best_average, setting_groups
from visionlab.analysis.metrics import last_metric
from visionlab.analysis.models import ModelRecord
from visionlab.analysis.options import FigureOptions
from visionlab.analysis.predictions import Array, load_last_predictions
from visionlab.analysis.statistics import std

TASK = "detection"
MAX_NAMED = 12  # curves; if there are more classes, only the mean is named
MEAN = "mean of classes"
RECALLS: Array = np.linspace(0.0, 1.0, 101)  # at which COCO samples a curve
_ARRAYS = ("scores", "labels", "outcomes", "num_objects")
_HATCHES = ("", "////", "....", "xxxx")
_BAR, _MARGIN, _MIN_HEIGHT = 0.11, 0.7, 2.0  # inches
_GROUP = 0.8  # of the height of a class
_Seeds = Mapping[str, Sequence[float]]  # values of all seeds by class


def draw_precision_recall(
    models: Sequence[ModelRecord], options: FigureOptions
) -> Mapping[str, Figure]:
    """Draw precision over recall at an IoU of 0.50 on validation after the last epoch.

    A curve per class and their mean, averaged over seeds; for each setting a panel for the raw
    model and one for the best average after the last epoch.
    """
    panels = {
        group.title(member): curves
        for group in setting_groups(models, task=TASK)
        for member in (group.raw, best_average(group))
        if member is not None and (curves := _curves(member))
    }
    if not panels:
        return {}
    check_legible("precision_recall", panels=len(panels))
    styles = line_styles(name for curves in panels.values() for name in curves)
    figure = panel_grid(len(panels))
    for axis, (title, curves) in zip(figure.axes, panels.items(), strict=True):
        _draw_curves(axis, curves, styles)
        axis.set(title=title, xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
    figure.axes[0].set_ylabel("precision (IoU 0.50)")
    named = styles if len(styles) <= MAX_NAMED else [MEAN]
    legend_below(figure, {name: Line2D([], [], **_style(name, styles)) for name in named})
    return {"precision_recall": figure}


def draw_class_precision(
    models: Sequence[ModelRecord], options: FigureOptions
) -> Mapping[str, Figure]:
    """Draw the average precision of each class on validation after the last epoch.

    Bars are means over seeds, whiskers standard deviations; classes without objects are left out.
    """
    panels = {
        group.label: bars
        for group in setting_groups(models, task=TASK)
        if (bars := {m.label: seeds for m in group.members if (seeds := _precision(m))})
    }
    styles = line_styles(label for bars in panels.values() for label in bars)
    every = [seeds for bars in panels.values() for seeds in bars.values()]
    num_classes = max(map(len, every), default=0)
    if not panels:
        return {}
    check_legible("class_precision", panels=len(panels), bars=num_classes * len(styles))
    num_seeds = max(len(values) for seeds in every for values in seeds.values())
    row = _BAR * (len(styles) + 1)
    num_rows = max(num_classes, (_MIN_HEIGHT - _MARGIN) / row)  # room below a few classes
    figure = panel_grid(len(panels), height=row * num_rows + _MARGIN)
    for axis, (title, bars) in zip(figure.axes, panels.items(), strict=True):
        _draw_bars(axis, bars, styles, num_rows=num_rows)
        axis.set(title=title, xlim=(0, 1))
        axis.set_xlabel(f"AP (mean ± std, {num_seeds} seeds)" if num_seeds > 1 else "AP")
    legend_below(figure)
    return {"class_precision": figure}


def precision_at_recalls(scores: Array, outcomes: Array, *, num_objects: int) -> Array:
    """Return the highest precision at or beyond each of `RECALLS`, 0 if out of reach, (101,).

    This is COCO's interpolated curve, whose mean is AP at one IoU (pycocotools'
    `COCOeval.accumulate`); detections with equal scores count in their order.

    Args:
        scores: of detections of one class in all images, (M,).
        outcomes: 1 for true positives, 0 for false positives, -1 for ignored ones, (M,).
        num_objects: number of objects, at least 1.
    """
    counted = outcomes >= 0
    order = np.argsort(-scores[counted], kind="stable")
    is_right = outcomes[counted][order] == 1
    num_right = np.cumsum(is_right)
    precision = num_right / np.arange(1, len(is_right) + 1)
    best_from = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(num_right / num_objects, RECALLS, side="left")
    found: Array = np.append(best_from, 0.0)[places]
    return found


def _curves(member: SeedGroup) -> dict[str, Array]:
    """Return a curve (101,) per class with objects, and their mean first; none without files."""
    names = member.models[0].run.labels
    by_class: dict[str, list[Array]] = {}
    for model in member.models:
        arrays = load_last_predictions(model.run, model.name, _ARRAYS)
        if arrays is None:
            continue
        for label, name in enumerate(names):
            num_objects = int(arrays["num_objects"][:, label].sum(dtype=np.int64))
            if num_objects > 0:
                rows = arrays["labels"] == label
                scores, outcomes = arrays["scores"][rows], arrays["outcomes"][rows]
                curve = precision_at_recalls(scores, outcomes, num_objects=num_objects)
                by_class.setdefault(name, []).append(curve)
    curves = {name: np.mean(seeds, axis=0) for name, seeds in by_class.items()}
    return {MEAN: np.mean(list(curves.values()), axis=0), **curves} if curves else {}


def _draw_curves(axis: Axes, curves: Mapping[str, Array], styles: Mapping[str, LineStyle]) -> None:
    """Draw curves, the mean last and thick; of many classes the others are grey."""
    for name, curve in reversed(list(curves.items())):
        axis.plot(RECALLS, curve, label=name, markevery=20, **_style(name, styles))


def _style(name: str, styles: Mapping[str, LineStyle]) -> LineStyle:
    if name == MEAN:
        return {"color": "black", "linewidth": 2.2}
    if len(styles) > MAX_NAMED:
        return {"color": "0.7", "linewidth": 0.6}
    return {**styles[name], "linewidth": 1.0, "markersize": 3}


def _precision(member: SeedGroup) -> _Seeds:
    """Return the average precision of each class with objects, one value per seed."""
    found: dict[str, list[float]] = {}
    for model in member.models:
        for name in model.run.labels:
            value = last_metric(model, f"val/AP/{name}")
            if value is not None and value >= 0:  # -1 if there are no objects
                found.setdefault(name, []).append(value)
    return found


def _draw_bars(
    axis: Axes, bars: Mapping[str, _Seeds], styles: Mapping[str, LineStyle], *, num_rows: float
) -> None:
    """Draw a group of bars per class, the first class on top, with one bar per model.

    Panels with fewer classes than `num_rows` have room below, so that all bars are equally high.
    """
    names = list(dict.fromkeys(name for seeds in bars.values() for name in seeds))
    thickness = _GROUP / len(styles)
    for number, (label, style) in enumerate(styles.items()):
        seeds = bars.get(label, {})
        offset = (number + 0.5) * thickness - _GROUP / 2
        has_errors = max(map(len, seeds.values()), default=0) > 1
        axis.barh(
            [names.index(name) + offset for name in seeds],
            [float(np.mean(values)) for values in seeds.values()],
            thickness,
            xerr=_whiskers(list(seeds.values())) if has_errors else None,
            error_kw={"elinewidth": 0.8, "ecolor": "0.3"},
            facecolor="white" if number % len(_HATCHES) else style["color"],
            edgecolor=style["color"],
            hatch=_HATCHES[number % len(_HATCHES)],
            linewidth=0.8,
            label=label if seeds else None,
        )
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(num_rows - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
    axis.set_axisbelow(True)


def _whiskers(values: Sequence[Sequence[float]]) -> Array:
    """Return the lengths of one standard deviation down and up, within 0 and 1, (2, C)."""
    means, stds = np.array([(float(np.mean(each)), std(each)) for each in values]).T
    lengths: Array = np.minimum(stds, np.clip([means, 1 - means], 0, None))
    return lengths
