"""Histograms of samples over the share of epochs misclassified, or predicted differently."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.analysis.figures.lines import check_legible, check_long_enough, draw_each
from visionlab.analysis.figures.style import LineStyle, legend_below, line_styles, panel_grid
from visionlab.analysis.groups import SettingGroup, setting_groups
from visionlab.analysis.labels import slug
from visionlab.analysis.models import RAW_LABEL, ModelRecord
from visionlab.analysis.options import FigureOptions
from visionlab.analysis.predictions import Array, at_common_epochs, load_correctness
from visionlab.analysis.stability import misclassification, mismatch

TASK = "classification"
MAX_BINS = 50
MIN_EPOCHS = 10  # fewer would be a few coarse bins
_FILLED = "0.75"


class _Shares(NamedTuple):
    """Shares of epochs, (S,) for the samples of one or more seeds."""

    values: Array
    num_epochs: int
    num_seeds: int = 1


_Measure = Callable[[ModelRecord, FigureOptions], _Shares | None]  # of one seed
_Panels = Mapping[str, Mapping[str, _Shares]]  # by title, then by model label


def draw_misclassification(
    models: Sequence[ModelRecord], options: FigureOptions
) -> Mapping[str, Figure]:
    """Draw a histogram of samples over the share of epochs in which they are misclassified.

    A panel per average. Samples of several seeds are counted together; seeds with fewer epochs than
    others are left out.
    """
    label = "share of epochs misclassified"
    return _draw(models, options, "misclassification", label, _misclassified)


def draw_mismatch(models: Sequence[ModelRecord], options: FigureOptions) -> Mapping[str, Figure]:
    """Draw a histogram of samples over the share of epochs in which average and raw model differ.

    They differ if one is right and the other wrong. Otherwise as `draw_misclassification`.
    """
    label = "share of epochs in which the prediction\ndiffers from the raw model's"
    return _draw(models, options, "mismatch", label, _mismatched)


def bin_edges(num_epochs: int) -> Array:
    """Return the edges of bins for shares of some epochs.

    All bins but the last hold equally many of the possible shares, 0 to `num_epochs` of
    `num_epochs`, so that no bin is higher for that reason alone.
    """
    shares_per_bin = math.ceil((num_epochs + 1) / MAX_BINS)
    num_bins = math.ceil((num_epochs + 1) / shares_per_bin)
    edges: Array = (np.arange(num_bins + 1) * shares_per_bin - 0.5) / num_epochs
    return edges


def _misclassified(model: ModelRecord, options: FigureOptions) -> _Shares | None:
    found = load_correctness(model.run, model.name, options.epochs)
    if found is None:
        return None
    return _Shares(misclassification(found.correct), len(found.epochs))


def _mismatched(model: ModelRecord, options: FigureOptions) -> _Shares | None:
    """Return the mismatch of an average with the raw model of the same run."""
    average = load_correctness(model.run, model.name, options.epochs)
    raw = load_correctness(model.run, "model", options.epochs)
    if model.is_raw or average is None or raw is None:
        return None
    average, raw = at_common_epochs(average, raw)
    if not len(raw.epochs):
        return None
    return _Shares(mismatch(average.correct, raw.correct), len(raw.epochs))


def _draw(
    models: Sequence[ModelRecord],
    options: FigureOptions,
    name: str,
    x_label: str,
    measure: _Measure,
) -> Mapping[str, Figure]:
    """Return one figure; or one per setting if settings have several averages."""
    groups = setting_groups(models, task=TASK)
    styles = line_styles(member.label for group in groups for member in group.members)
    by_setting: dict[str, _Panels] = {}
    for group in groups:
        shares = {
            member.label: _together(filter(None, (measure(m, options) for m in member.models)))
            for member in group.members
        }
        panels = _panels(group, {label: each for label, each in shares.items() if each})
        if panels:
            by_setting[group.label] = panels
    every = [
        each
        for panels in by_setting.values()
        for panel in panels.values()
        for each in panel.values()
    ]
    num_epochs = max((each.num_epochs for each in every), default=0)
    if not every:
        return {}
    check_long_enough(name, num_epochs=num_epochs, least=MIN_EPOCHS)
    if len(by_setting) > 1 and max(map(len, by_setting.values())) > 1:
        by_name = {f"{name}_{slug(label)}": panels for label, panels in by_setting.items()}
    else:
        by_name = {
            name: {title: p for panels in by_setting.values() for title, p in panels.items()}
        }
    check_legible(name, figures=len(by_name))
    return draw_each(
        partial(_draw_panels, each, panels, styles, x_label) for each, panels in by_name.items()
    )


def _together(seeds: Iterable[_Shares]) -> _Shares | None:
    """Return the shares of the seeds with the most epochs: those of others are not comparable."""
    found = list(seeds)
    most = max((each.num_epochs for each in found), default=0)
    kept = [each.values for each in found if each.num_epochs == most]
    return _Shares(np.concatenate(kept), most, len(kept)) if kept else None


def _panels(group: SettingGroup, shares: Mapping[str, _Shares]) -> _Panels:
    """Return a panel per average, each with the raw model if that has shares too."""
    averages = [member.label for member in group.averages if member.label in shares]
    raw = [label for label in shares if label not in averages]
    panels = [[*raw, label] for label in averages] or ([raw] if raw else [])
    names = [shown[-1] if len(panels) > 1 else "" for shown in panels]
    return {
        ", ".join(filter(None, (group.label, name))): {label: shares[label] for label in shown}
        for name, shown in zip(names, panels, strict=True)
    }


def _draw_panels(
    name: str, panels: _Panels, styles: Mapping[str, LineStyle], x_label: str
) -> dict[str, Figure]:
    check_legible(name, panels=len(panels))
    figure = panel_grid(len(panels))
    for axis, (title, shares) in zip(figure.axes, panels.items(), strict=True):
        _draw_histogram(axis, shares, styles)
        axis.set(title=title, xlabel=x_label, yscale="log", xlim=(-0.05, 1.05))
    num_seeds = max(each.num_seeds for shares in panels.values() for each in shares.values())
    note = f"\n({num_seeds} seeds together)" if num_seeds > 1 else ""
    figure.axes[0].set_ylabel(f"validation samples (%){note}")
    ends = [axis.get_ylim() for axis in figure.axes]
    for axis in figure.axes:
        axis.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
        axis.yaxis.set_major_formatter("{x:g}")
    legend_below(figure)
    return {name: figure}


def _draw_histogram(
    axis: Axes, shares: Mapping[str, _Shares], styles: Mapping[str, LineStyle]
) -> None:
    """Draw the raw model filled and an average as an outline."""
    edges = bin_edges(max(each.num_epochs for each in shares.values()))
    for label, each in shares.items():
        per_cent = 100 * np.histogram(each.values, edges)[0] / len(each.values)
        is_raw = label == RAW_LABEL
        color = _FILLED if is_raw else styles[label]["color"]
        axis.stairs(per_cent, edges, fill=is_raw, color=color, linewidth=1.3, label=label)
    # below a single sample
    axis.set_ylim(bottom=70 / max(len(each.values) for each in shares.values()))
