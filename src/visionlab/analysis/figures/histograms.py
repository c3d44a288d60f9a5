"""Over how many samples each share of epochs occurs: misclassified, or judged differently."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.analysis.asked import Asked
from visionlab.analysis.figures.legends import put_below
from visionlab.analysis.figures.style import Look, looks, panels, slug, styled
from visionlab.analysis.panels import Line, Panel, panels_of
from visionlab.analysis.predictions import common, correctness
from visionlab.analysis.stability import misclassification, mismatch

Array = np.ndarray[Any, Any]
TASK = "classification"
MAX_BINS = 50
_FILLED = "0.75"


@dataclass(frozen=True, kw_only=True)
class _Histogram:
    """One panel.

    Attributes:
        title: of it.
        shares: of the samples of all seeds, by the label of the model.
        num_epochs: of which they are shares.
        num_seeds: how many seeds there are.
    """

    title: str
    shares: Mapping[str, Array]
    num_epochs: int
    num_seeds: int


def draw_misclassification(asked: Asked) -> Mapping[str, Figure]:
    """Draw over how many samples each share of epochs misclassified occurs.

    A panel for each average. Samples of several seeds are counted together; of seeds with fewer
    epochs than others there are none.
    """
    return _draw(asked, "misclassification", "share of epochs misclassified", _misclassified)


def draw_mismatch(asked: Asked) -> Mapping[str, Figure]:
    """Draw over how many samples an average and the model in training differ how often.

    As in `draw_misclassification`.
    """
    label = "share of epochs judged otherwise\nthan by the model in training"
    return _draw(asked, "mismatch", label, _mismatched)


def bin_edges(num_epochs: int) -> Array:
    """Return the edges of bins for shares of some epochs.

    Each bin but the last holds equally many of the shares that there can be, 0 to `num_epochs` of
    `num_epochs`, so that no bin is higher for that alone.
    """
    together = math.ceil((num_epochs + 1) / MAX_BINS)
    count = math.ceil((num_epochs + 1) / together)
    edges: Array = (np.arange(count + 1) * together - 0.5) / num_epochs
    return edges


# what is counted of a line: the shares of the samples of each seed, and of how many epochs
_SharesOf = Callable[[Line, Asked], tuple[Sequence[Array], int] | None]


def _misclassified(line: Line, asked: Asked) -> tuple[Sequence[Array], int] | None:
    """Return the shares of epochs misclassified."""
    found = [correctness(model.run, model.name, asked.epochs) for model in line.models]
    kept = _furthest([(each.correct,) for each in found if each is not None])
    return ([misclassification(*each) for each in kept], len(kept[0][0])) if kept else None


def _mismatched(line: Line, asked: Asked) -> tuple[Sequence[Array], int] | None:
    """Return the shares of epochs in which an average and the model in training differ."""
    if not line.is_average:
        return None
    pairs = []
    for model in line.models:
        average = correctness(model.run, model.name, asked.epochs)
        in_training = correctness(model.run, "model", asked.epochs)
        if average is not None and in_training is not None:
            pairs.append(tuple(each.correct for each in common(average, in_training)))
    kept = _furthest(pairs)
    return ([mismatch(*each) for each in kept], len(kept[0][0])) if kept else None


def _furthest(tables: Sequence[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
    """Return the seeds with the most epochs: shares of fewer are others."""
    most = max((len(each[0]) for each in tables), default=0)
    return [each for each in tables if len(each[0]) == most > 0]


def _draw(asked: Asked, name: str, xlabel: str, shares_of: _SharesOf) -> Mapping[str, Figure]:
    """Return one figure; or one for each setting of training, if it has several averages."""
    settings = panels_of(asked.models, task=TASK)
    by_setting = {panel.label: _histograms(panel, asked, shares_of) for panel in settings}
    drawn = {label: found for label, found in by_setting.items() if found}
    labels = list(dict.fromkeys(line.label for panel in settings for line in panel.lines))
    if len(drawn) > 1 and max(map(len, drawn.values())) > 1:
        return {
            f"{name}_{slug(label)}": _figure(found, looks(labels), xlabel)
            for label, found in drawn.items()
        }
    together = [histogram for found in drawn.values() for histogram in found]
    return {name: _figure(together, looks(labels), xlabel)} if together else {}


def _histograms(panel: Panel, asked: Asked, shares_of: _SharesOf) -> list[_Histogram]:
    """Return a panel for each average, with the model in training where it has shares too."""
    found = {line.label: shares for line in panel.lines if (shares := shares_of(line, asked))}
    averages = [line.label for line in panel.averages if line.label in found]
    base = [label for label in found if label not in averages]
    sets = [[*base, label] for label in averages] or [base] * bool(base)
    return [
        _Histogram(
            title=", ".join(filter(None, (panel.label, shown[-1] if len(sets) > 1 else ""))),
            shares={label: np.concatenate(found[label][0]) for label in shown},
            num_epochs=max(found[label][1] for label in shown),
            num_seeds=max(len(found[label][0]) for label in shown),
        )
        for shown in sets
    ]


def _figure(histograms: Sequence[_Histogram], look_of: Mapping[str, Look], xlabel: str) -> Figure:
    num_seeds = max(histogram.num_seeds for histogram in histograms)
    seeds = f"\n({num_seeds} seeds together)" if num_seeds > 1 else ""
    handles: dict[str, Artist] = {}
    with styled():
        figure = panels(len(histograms))
        for axis, histogram in zip(figure.axes, histograms, strict=True):
            handles |= _draw_histogram(axis, histogram, look_of)
            axis.set(title=histogram.title, xlabel=xlabel, yscale="log", xlim=(-0.05, 1.05))
        figure.axes[0].set_ylabel(f"validation samples (%){seeds}")
        ends = [axis.get_ylim() for axis in figure.axes]
        for axis in figure.axes:
            axis.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
            axis.yaxis.set_major_formatter("{x:g}")
        if not all(each.title.endswith(", ".join(each.shares)) for each in histograms):
            put_below(figure, list(handles.values()), title=None)
    return figure


def _draw_histogram(
    axis: Axes, histogram: _Histogram, look_of: Mapping[str, Look]
) -> dict[str, Artist]:
    """Draw the first model filled and a second as an outline; return what a legend shows."""
    edges = bin_edges(histogram.num_epochs)
    handles: dict[str, Artist] = {}
    for label, shares in histogram.shares.items():
        counts, _ = np.histogram(shares, edges)
        per_cent = 100 * counts / len(shares)
        if handles:
            color = look_of[label].color
            handles[label] = axis.stairs(per_cent, edges, color=color, linewidth=1.3, label=label)
        else:
            handles[label] = axis.stairs(per_cent, edges, fill=True, color=_FILLED, label=label)
    axis.set_ylim(bottom=70 / max(map(len, histogram.shares.values())))  # below a single sample
    return handles
