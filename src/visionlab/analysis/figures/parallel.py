"""Parallel coordinates: runs as lines through their settings, coloured by the outcome."""

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

from visionlab.analysis.figures.lines import check_legible
from visionlab.analysis.figures.scales import Scale, setting_scale
from visionlab.analysis.figures.style import legend_below
from visionlab.analysis.groups import group_by
from visionlab.analysis.labels import metric_label, setting_label
from visionlab.analysis.metrics import check_metric, final_metric, higher_is_better, main_metric
from visionlab.analysis.models import ModelRecord, split_varying_settings
from visionlab.analysis.options import FigureOptions
from visionlab.analysis.statistics import mean_by_seed

_WIDTH, _HEIGHT = 1.2, 2.6  # inches, at least, between two axes and in all
_LETTER, _ROW = 0.068, 0.16  # inches, of a tick label
_MAX_LETTERS = 28  # of a tick label
_BAR = 0.1  # width of the colour bar, as a share of the distance between two axes
_DARKEST, _LIGHTEST = 0.0, 0.88  # of cividis; the rest is too light on white
_NUM_COLOURS = 256
_DASHES: dict[str, Any] = {"finished": "-", "pruned": (0, (4, 2))}


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """Models that differ only in their seeds: settings, status and mean metric."""

    settings: Sequence[Any]
    state: str
    value: float | None


def draw_parallel(models: Sequence[ModelRecord], options: FigureOptions) -> Mapping[str, Figure]:
    """Draw a line per combination of settings, through an axis per setting that varies.

    The last axis is the colour bar: the final metric, mean over seeds; better is darker. Pruned
    runs are dashed. If there are any, the metric is the one on validation after the last epoch, the
    only one that they have. Other unfinished runs are left out. Averages are drawn if there are
    several to compare.

    Raises:
        ValueError: no run has the metric `value`.
    """
    if options.value is not None:
        check_metric(models, options.value, name="value")
    ended = [model for model in models if model.run.state in _DASHES]
    shown, keys = _compared(ended)
    if not keys:
        return {}
    check_legible("parallel", axes=len(keys))
    metric = options.value or _common_metric(ended)
    trials = [_trial(same, keys, metric, options) for _, same in group_by(shown, keys)]
    if len(trials) < 2 or all(trial.value is None for trial in trials):
        return {}
    scales = [setting_scale(shown, key) for key in keys]
    rises = higher_is_better(metric, models)
    return {"parallel": _draw(trials, scales, keys, metric, rises=rises)}


def _compared(models: Sequence[ModelRecord]) -> tuple[list[ModelRecord], list[str]]:
    """Return the models to compare and the settings in which they differ."""
    if split_varying_settings([model for model in models if not model.is_raw])[1]:
        of_runs, of_averages = split_varying_settings(models)
        return list(models), [*of_runs, *of_averages]
    raw = [model for model in models if model.is_raw]
    return raw, split_varying_settings(raw)[0]


def _common_metric(models: Sequence[ModelRecord]) -> str:
    """Return the main metric, on validation unless all runs have finished."""
    metric = main_metric(models)
    if all(model.run.state == "finished" for model in models):
        return metric
    return f"val/{metric.partition('/')[2]}"


def _trial(
    models: Sequence[ModelRecord], keys: Sequence[str], metric: str, options: FigureOptions
) -> _Trial:
    found = [(m.run.seed, final_metric(m, metric, weights=options.weights)) for m in models]
    means = mean_by_seed((seed, value) for seed, value in found if value is not None)
    return _Trial(
        settings=[models[0].settings.get(key) for key in keys],
        state="pruned" if any(model.run.state == "pruned" for model in models) else "finished",
        value=statistics.fmean(means.values()) if means else None,
    )


def _draw(
    trials: Sequence[_Trial],
    scales: Sequence[Scale],
    keys: Sequence[str],
    metric: str,
    *,
    rises: bool,
) -> Figure:
    values = [trial.value for trial in trials if trial.value is not None]
    low, high = min(values), max(values)
    ticks = [[(place, _shorten(label)) for place, label in scale.ticks()] for scale in scales]
    longest = max(len(label) for column in ticks for _, label in column)
    width = max(_WIDTH, longest * _LETTER + 0.4)
    height = max(_HEIGHT, max(map(len, ticks)) * _ROW + 0.8)
    figure = Figure(figsize=(width * len(keys) + 1.4, height), layout="constrained")
    axis = figure.subplots()
    colours = ScalarMappable(Normalize(low, high), _colour_map(rises))
    for trial in sorted(trials, key=lambda trial: _quality(trial, rises)):  # the best on top
        heights = [s.share(s.place(v)) for s, v in zip(scales, trial.settings, strict=True)]
        if trial.value is not None:
            heights.append((trial.value - low) / (high - low) if high > low else 0.5)
        axis.plot(
            heights,
            color="0.6" if trial.value is None else colours.to_rgba(np.array(trial.value)),
            linestyle=_DASHES[trial.state],
            clip_on=False,
        )
    _draw_axes(axis, keys, scales, ticks)
    beside = axis.inset_axes((1.0, 0.0, _BAR / len(keys), 1.0))
    beside.grid(visible=False)
    figure.colorbar(colours, cax=beside).set_label(metric_label(metric))
    states = [state for state in _DASHES if state in {trial.state for trial in trials}]
    if states != ["finished"]:
        handles = {s: Line2D([], [], color="0.3", linestyle=_DASHES[s]) for s in states}
        legend_below(figure, handles)
    return figure


def _quality(trial: _Trial, rises: bool) -> float:
    if trial.value is None:
        return -np.inf
    return trial.value if rises else -trial.value


def _colour_map(rises: bool) -> ListedColormap:
    """Return cividis, which is monotonic in grey, with better values darker."""
    ends = (_LIGHTEST, _DARKEST) if rises else (_DARKEST, _LIGHTEST)
    return ListedColormap(mpl.colormaps["cividis"](np.linspace(*ends, _NUM_COLOURS)))


def _shorten(label: str) -> str:
    """Return the start and the end of a long label."""
    half = _MAX_LETTERS // 2
    return label if len(label) <= _MAX_LETTERS else f"{label[:half]}…{label[1 - half :]}"


def _names(keys: Sequence[str]) -> list[str]:
    """Return the labels of settings, in full where two would be the same."""
    labels = [setting_label(key) for key in keys]
    return [
        key if labels.count(label) > 1 else label for key, label in zip(keys, labels, strict=True)
    ]


def _draw_axes(
    axis: Axes,
    keys: Sequence[str],
    scales: Sequence[Scale],
    ticks: Sequence[Sequence[tuple[float, str]]],
) -> None:
    """Draw a vertical axis with ticks per setting, its name below."""
    background = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    for x, (scale, column) in enumerate(zip(scales, ticks, strict=True)):
        axis.axvline(x, color="black", linewidth=0.8, zorder=1.5)
        for place, label in column:
            axis.annotate(
                label,
                (x, scale.share(place)),
                xytext=(-3, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize="small",
                bbox=background,
            )
    axis.set_xticks(range(len(keys)), [textwrap.fill(name, 16) for name in _names(keys)])
    axis.set(xlim=(-0.02, len(keys)), ylim=(0, 1), yticks=[])
    axis.grid(visible=False)
    axis.tick_params(axis="x", length=0, pad=9)
    axis.spines[["left", "bottom"]].set_visible(False)
