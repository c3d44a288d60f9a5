"""How steadily samples are classified from epoch to epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from visionlab.analysis.asked import Asked
from visionlab.analysis.figures.legends import put_below
from visionlab.analysis.figures.style import Look, looks, panels, styled
from visionlab.analysis.panels import Line, panels_of
from visionlab.analysis.predictions import correctness
from visionlab.analysis.stability import moving_average, stability_of_epochs

Array = np.ndarray[Any, Any]
TASK = "classification"
_NUM_MARKERS = 8  # on a line
_START = 0.1  # of the epochs, at which lines may be too low to be seen
_MARGIN = 0.05  # of the height, around what is drawn


class Curve(NamedTuple):
    """Numbers of each epoch over seeds: mean and standard deviation, (E,)."""

    epochs: Array
    mean: Array
    std: Array


def draw_stability(asked: Asked) -> Mapping[str, Figure]:
    """Draw stability and, dashed, accuracy over epochs, means over seeds.

    A panel for each setting of training. The lowest values of the first tenth of the epochs may lie
    below the panel, for what comes later to be seen.
    """
    curves = {
        panel.label: {line.label: found for line in panel.lines if (found := _curves(line, asked))}
        for panel in panels_of(asked.models, task=TASK)
    }
    drawn = {label: lines for label, lines in curves.items() if lines}
    if not drawn:
        return {}
    labels = list(dict.fromkeys(label for lines in drawn.values() for label in lines))
    seeds = [line.seeds for panel in panels_of(asked.models, task=TASK) for line in panel.lines]
    with styled():
        figure = panels(len(drawn))
        for axis, (title, lines) in zip(figure.axes, drawn.items(), strict=True):
            for label, (stability, accuracy) in lines.items():
                look = looks(labels)[label]
                _draw_curve(axis, stability, look, "-", look.color)
                _draw_curve(axis, accuracy, look, "--", "white")
            axis.set(title=title, xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.axes[0].set_ylabel(_share("of validation samples", seeds))
        _same_limits(figure)
        _explain(figure, looks(labels), "stability", "accuracy")
    return {"stability": figure}


def over_seeds(by_seed: Sequence[Mapping[int, float]]) -> Curve:
    """Return mean and standard deviation (n - 1) at each epoch, of the seeds that reached it."""
    epochs = sorted({epoch for values in by_seed for epoch in values})
    several = [[values[epoch] for values in by_seed if epoch in values] for epoch in epochs]
    return Curve(
        np.array(epochs),
        np.array([np.mean(values) for values in several]),
        np.array([np.std(values, ddof=1) if len(values) > 1 else 0.0 for values in several]),
    )


def _curves(line: Line, asked: Asked) -> tuple[Curve, Curve] | None:
    """Return stability and accuracy of a line, or None if no seed has two epochs."""
    found = [correctness(model.run, model.name, asked.epochs) for model in line.models]
    kept = [each for each in found if each is not None and len(each.epochs) > 1]
    if not kept:
        return None
    stability = [
        dict(zip(each.epochs[1:].tolist(), smooth.tolist(), strict=True))
        for each in kept
        if len(smooth := moving_average(stability_of_epochs(each.correct), asked.window))
    ]
    accuracy = [
        dict(zip(each.epochs.tolist(), each.correct.mean(axis=1).tolist(), strict=True))
        for each in kept
    ]
    return over_seeds(stability), over_seeds(accuracy)


def _draw_curve(axis: Axes, curve: Curve, look: Look, linestyle: str, inside: str) -> None:
    every = math.ceil(len(curve.epochs) / _NUM_MARKERS)
    axis.plot(
        curve.epochs,
        curve.mean,
        color=look.color,
        linestyle=linestyle,
        marker=look.marker,
        markerfacecolor=inside,
        markevery=every,
    )
    if curve.std.any():
        low, high = curve.mean - curve.std, curve.mean + curve.std
        axis.fill_between(curve.epochs, low, high, color=look.color, alpha=0.2, linewidth=0)


def _share(of: str, seeds: Sequence[str]) -> str:
    """Return what an axis shows, and of how many seeds."""
    most = max(seeds, key=lambda each: int(each.split()[0]))
    return f"share {of}" if most == "1 seed" else f"share {of}\n(mean ± std, {most})"


def _same_limits(figure: Figure) -> None:
    """Give all panels the same limits; the steep rise at the start may leave them below."""
    lefts, rights = zip(*(axis.get_xlim() for axis in figure.axes), strict=True)
    lines = [np.asarray(line.get_ydata()) for axis in figure.axes for line in axis.lines]
    later = np.concatenate([values[math.ceil(len(values) * _START) :] for values in lines])
    low = (later if len(later) else np.concatenate(lines)).min()
    margin = _MARGIN * (1 - low)
    for axis in figure.axes:
        axis.set(xlim=(min(lefts), max(rights)), ylim=(low - margin, 1 + margin))


def _explain(figure: Figure, looks_by_label: Mapping[str, Look], solid: str, dashed: str) -> None:
    """Put a legend below: models by colour and marker, numbers by dash."""
    handles = [
        *(
            Line2D([], [], color=look.color, marker=look.marker, label=label)
            for label, look in looks_by_label.items()
        ),
        Line2D([], [], color="0.3", linestyle="-", marker="o", label=solid),
        Line2D([], [], color="0.3", linestyle="--", marker="o", mfc="white", label=dashed),
    ]
    put_below(figure, handles, title=None)
