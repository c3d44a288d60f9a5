"""How well detectors find objects: precision over recall, and the average precision of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from visionlab.analysis.asked import Asked
from visionlab.analysis.best import best_line
from visionlab.analysis.figures.legends import put_below
from visionlab.analysis.figures.style import looks, panels, styled
from visionlab.analysis.measures import in_row
from visionlab.analysis.panels import Line, panels_of
from visionlab.analysis.precision_recall import RECALLS, precision_at_recalls
from visionlab.analysis.predictions import last_arrays

Array = np.ndarray[Any, Any]
TASK = "detection"
MAX_NAMED = 12  # curves; of more classes only the mean is told apart
MEAN = "mean of classes"
_ARRAYS = ("scores", "labels", "outcomes", "num_objects")
_HATCHES = ("", "////", "....", "xxxx")
_BAR, _AROUND, _SHORTEST = 0.11, 0.7, 2.0  # inches
_GROUP = 0.8  # of the room of a class


def draw_precision_recall(asked: Asked) -> Mapping[str, Figure]:
    """Draw precision over recall at an IoU of 0.50, after the last epoch, on validation.

    A curve for each class and one for their mean, all means over seeds. A panel for the model in
    training and one for the average that is best at last, for each setting of training.
    """
    found = {
        ", ".join(filter(None, (panel.label, line.label))): curves
        for panel in panels_of(asked.models, task=TASK)
        for line in (panel.in_training, best_line(panel.averages))
        if line is not None and (curves := _curves(line))
    }
    if not found:
        return {}
    names = list(dict.fromkeys(name for curves in found.values() for name in curves))
    with styled():
        figure = panels(len(found))
        for axis, (title, curves) in zip(figure.axes, found.items(), strict=True):
            _draw_curves(axis, curves, names)
            axis.set(title=title, xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
        figure.axes[0].set_ylabel("precision (IoU 0.50)")
        lines = {str(line.get_label()): line for axis in figure.axes for line in axis.lines}
        put_below(figure, [lines[name] for name in names if name in lines], title=None)
    return {"precision_recall": figure}


def draw_class_precision(asked: Asked) -> Mapping[str, Figure]:
    """Draw the average precision of each class after the last epoch, on validation.

    Bars are means over seeds, whiskers standard deviations; classes without objects are left out.
    """
    found = {
        panel.label: {line.label: numbers for line in panel.lines if (numbers := _numbers(line))}
        for panel in panels_of(asked.models, task=TASK)
    }
    drawn = {label: lines for label, lines in found.items() if lines}
    if not drawn:
        return {}
    labels = list(dict.fromkeys(label for lines in drawn.values() for label in lines))
    names = max(len(numbers) for lines in drawn.values() for numbers in lines.values())
    num_seeds = max(len(seeds) for lines in drawn.values() for seeds in _all_seeds(lines))
    with styled():
        height = max(_SHORTEST, _BAR * (len(labels) + 1) * names + _AROUND)
        figure = panels(len(drawn), height=height)
        for axis, (title, lines) in zip(figure.axes, drawn.items(), strict=True):
            _draw_bars(axis, lines, labels)
            axis.set(title=title, xlim=(0, 1))
            axis.set_xlabel(f"AP (mean ± std, {num_seeds} seeds)" if num_seeds > 1 else "AP")
        bars = {label: bar for axis in figure.axes for label, bar in _bars(axis)}
        put_below(figure, list(bars.values()), title=None)
    return {"class_precision": figure}


def _curves(line: Line) -> dict[str, Array]:
    """Return a curve (101,) for each class with objects, and their mean; none without files."""
    names = line.models[0].run.about.get("labels", [])
    found = [last_arrays(model.run, model.name, _ARRAYS) for model in line.models]
    by_class: dict[str, list[Array]] = {}
    for arrays in (arrays for arrays in found if arrays is not None):
        num_objects = arrays["num_objects"].sum(axis=0, dtype=np.int64)
        for label, name in enumerate(names):
            if num_objects[label] > 0:
                rows = arrays["labels"] == label
                curve = precision_at_recalls(
                    arrays["scores"][rows],
                    arrays["outcomes"][rows],
                    num_objects=int(num_objects[label]),
                )
                by_class.setdefault(name, []).append(curve)
    curves = {name: np.mean(several, axis=0) for name, several in by_class.items()}
    return {MEAN: np.mean(list(curves.values()), axis=0), **curves} if curves else {}


def _draw_curves(axis: Axes, curves: Mapping[str, Array], names: Sequence[str]) -> None:
    """Draw curves, that of the mean last and thick; of many classes the others are grey."""
    look_of = looks(names)
    for name, curve in reversed(list(curves.items())):
        look = look_of[name]
        if name == MEAN:
            axis.plot(RECALLS, curve, color="black", linewidth=2.2, label=name)
        elif len(names) <= MAX_NAMED:
            axis.plot(
                RECALLS,
                curve,
                color=look.color,
                linestyle=look.linestyle,
                linewidth=1.0,
                marker=look.marker,
                markevery=20,
                markersize=3,
                label=name,
            )
        else:
            axis.plot(RECALLS, curve, color="0.7", linewidth=0.6, label="_class")


def _numbers(line: Line) -> dict[str, list[float]]:
    """Return the average precision of each class that has objects, one number a seed."""
    found: dict[str, list[float]] = {}
    for model in line.models:
        names = model.run.about.get("labels", [])
        for name in names if model.run.rows else []:
            value = in_row(model, model.run.rows[-1], f"val/AP/{name}")
            if value is not None and value >= 0:  # -1 says that there is nothing to find
                found.setdefault(name, []).append(value)
    return found


def _all_seeds(lines: Mapping[str, Mapping[str, list[float]]]) -> list[list[float]]:
    return [seeds for numbers in lines.values() for seeds in numbers.values()]


def _draw_bars(
    axis: Axes, lines: Mapping[str, Mapping[str, list[float]]], labels: Sequence[str]
) -> None:
    """Draw a group of bars for each class, the first on top, in it one for each model."""
    names = list(dict.fromkeys(name for numbers in lines.values() for name in numbers))
    look_of, thickness = looks(labels), _GROUP / len(labels)
    for number, label in enumerate(labels):
        numbers = lines.get(label, {})
        shown = [name for name in names if name in numbers]
        places = [names.index(name) + (number + 0.5) * thickness - _GROUP / 2 for name in shown]
        several = max((len(numbers[name]) for name in shown), default=0) > 1
        axis.barh(
            places,
            [float(np.mean(numbers[name])) for name in shown],
            thickness,
            xerr=[_std(numbers[name]) for name in shown] if several else None,
            error_kw={"elinewidth": 0.8, "ecolor": "0.3"},
            facecolor="white" if number % len(_HATCHES) else look_of[label].color,
            edgecolor=look_of[label].color,
            hatch=_HATCHES[number % len(_HATCHES)],
            linewidth=0.8,
            label=label,
        )
    axis.set_yticks(range(len(names)), names, parse_math=False)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
    axis.set_axisbelow(True)


def _bars(axis: Axes) -> list[tuple[str, Patch]]:
    """Return a bar of each model, as a legend shows it."""
    groups = [each for each in axis.containers if isinstance(each, BarContainer) and len(each)]
    for group in groups:
        group[0].set_label(group.get_label())
    return [(str(group.get_label()), group[0]) for group in groups]


def _std(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
