"""The runs of a sweep as lines through their settings, coloured by what came out."""

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from visionlab.analysis.asked import Asked
from visionlab.analysis.figures.labels import (
    by_task,
    grouped,
    number_label,
    setting_label,
    settings_apart,
)
from visionlab.analysis.figures.legends import put_below
from visionlab.analysis.figures.scales import Scale, scale_of
from visionlab.analysis.figures.style import styled
from visionlab.analysis.measures import (
    Model,
    Weights,
    check_value,
    is_more_better,
    main_value,
    number,
)

_WIDTH, _HEIGHT = 1.2, 2.6  # inches, between two axes and of all
_BAR = 0.1  # width of the colour bar, of the space between two axes
_DARKEST, _LIGHTEST = 0.0, 0.88  # of cividis; the rest is too light on white
_NUM_COLOURS = 256
_DASHES: dict[str, Any] = {"finished": "-", "pruned": (0, (4, 2))}


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """Runs that differ in their seeds alone."""

    settings: Sequence[Any]
    state: str
    value: float | None


def draw_parallel(asked: Asked) -> Mapping[str, Figure]:
    """Draw a line for each combination of settings, through an axis for each that differs.

    The last axis is the colour bar: the final number, a mean over seeds. Better is darker. Pruned
    runs are dashed; if there are such, the number is that on validation after the last epoch, as
    they have no other. Other runs that have not finished are left out. Averages are drawn if
    several are there to compare. Each task has a figure of its own.

    Raises:
        ValueError: no run has the number `asked.value`.
    """
    if asked.value is not None:
        check_value(asked.models, asked.value, name="value")
    figures: dict[str, Figure] = {}
    for name, models in by_task([m for m in asked.models if m.run.state in _DASHES], "parallel"):
        shown, keys = _shown(models)
        value = asked.value or _value_of_all(models)
        trials = _trials(shown, keys, value, asked.weights)
        values = [trial.value for trial in trials if trial.value is not None]
        if keys and len(trials) > 1 and values:
            with styled():
                figures[name] = _draw(trials, keys, value, (min(values), max(values)))
    return figures


def _shown(models: Sequence[Model]) -> tuple[list[Model], list[str]]:
    """Return the models that are compared, and the settings in which they differ."""
    averages = [model for model in models if model.name != "model"]
    if settings_apart(averages)[1]:
        of_runs, of_averages = settings_apart(models)
        return list(models), [*of_runs, *of_averages]
    in_training = [model for model in models if model.name == "model"]
    return in_training, settings_apart(in_training)[0]


def _value_of_all(models: Sequence[Model]) -> str:
    """Return the number that says most of those that all runs have."""
    value = main_value(models)
    if all(model.run.state == "finished" for model in models):
        return value
    return f"val/{value.partition('/')[2]}"


def _trials(
    models: Sequence[Model], keys: Sequence[str], value: str, weights: Weights
) -> list[_Trial]:
    trials = []
    for _, members in grouped(models, keys):
        by_seed: dict[int, list[float]] = {}
        for model in members:
            found = number(model, value, weights=weights)
            if found is not None:
                by_seed.setdefault(model.run.seed, []).append(found)
        means = [statistics.fmean(each) for each in by_seed.values()]
        trials.append(
            _Trial(
                settings=[members[0].settings.get(key) for key in keys],
                state="pruned" if any(m.run.state == "pruned" for m in members) else "finished",
                value=statistics.fmean(means) if means else None,
            )
        )
    return trials


def _draw(
    trials: Sequence[_Trial], keys: Sequence[str], value: str, ends: tuple[float, float]
) -> Figure:
    columns = list(zip(*(trial.settings for trial in trials), strict=True))
    scales = [scale_of(column) for column in columns]
    figure = Figure(figsize=(_WIDTH * len(keys) + 1.4, _HEIGHT), layout="constrained")
    axis = figure.subplots()
    colours = ScalarMappable(Normalize(*ends), _colour_map(value))
    # the best on top
    worst_first = sorted(trials, key=lambda each: _rank(each, value))
    for trial in worst_first:
        heights = [s.share(s.place(v)) for s, v in zip(scales, trial.settings, strict=True)]
        if trial.value is not None:
            span = ends[1] - ends[0]
            heights.append((trial.value - ends[0]) / span if span else 0.5)
        axis.plot(
            *(range(len(heights)), heights),
            color="0.6" if trial.value is None else colours.to_rgba(np.array(trial.value)),
            linestyle=_DASHES[trial.state],
            clip_on=False,
        )
    _draw_axes(axis, keys, scales)
    # as high as the axes: it is the last of them
    beside = axis.inset_axes((1.0, 0.0, _BAR / len(keys), 1.0))
    beside.grid(visible=False)
    figure.colorbar(colours, cax=beside).set_label(number_label(value))
    states = [state for state in _DASHES if state in {trial.state for trial in trials}]
    if states != ["finished"]:
        dashes = [
            Line2D([], [], color="0.3", linestyle=_DASHES[each], label=each) for each in states
        ]
        put_below(figure, dashes, title=None)
    return figure


def _rank(trial: _Trial, value: str) -> tuple[bool, float]:
    if trial.value is None:
        return False, 0.0
    return True, trial.value if is_more_better(value) else -trial.value


def _colour_map(value: str) -> ListedColormap:
    """Return cividis, which is monotonic in grey, with better numbers darker."""
    ends = (_LIGHTEST, _DARKEST) if is_more_better(value) else (_DARKEST, _LIGHTEST)
    return ListedColormap(mpl.colormaps["cividis"](np.linspace(*ends, _NUM_COLOURS)))


def _draw_axes(axis: Axes, keys: Sequence[str], scales: Sequence[Scale]) -> None:
    """Draw an upright axis with ticks for each setting, its name below."""
    paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    for place, scale in enumerate(scales):
        axis.axvline(place, color="black", linewidth=0.8, zorder=1.5)
        for height, label in scale.ticks():
            axis.annotate(
                label,
                (place, scale.share(height)),
                xytext=(-3, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize="small",
                bbox=paper,
            )
    axis.set_xticks(range(len(keys)), [textwrap.fill(setting_label(key), 16) for key in keys])
    axis.set_xlim(-0.02, len(keys))
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    axis.grid(visible=False)
    axis.tick_params(axis="x", length=0, pad=9)
    axis.spines[["left", "bottom"]].set_visible(False)
