"""Errors of keypoints, and PCK curves."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from visionlab.analysis.figures.lines import Line, check_legible, draw_line, seeds_note
from visionlab.analysis.figures.style import LineStyle, legend_below, line_styles, panel_grid
from visionlab.analysis.groups import SeedGroup, setting_groups
from visionlab.analysis.models import ModelRecord
from visionlab.analysis.options import FigureOptions
from visionlab.analysis.predictions import Array, load_last_predictions
from visionlab.analysis.records import RunRecord

TASK = "keypoints"
NUM_DISTANCES = 201  # of a PCK curve
_MAX_MARKED = 30  # keypoints with a marker
_MAX_NAMED = 30  # keypoints named along an axis
_QUARTILES = (25.0, 50.0, 75.0)  # per cent
_Errors = dict[str, list[Array]]  # (N, K) of each seed, by model label


def draw_keypoint_errors(
    models: Sequence[ModelRecord], options: FigureOptions
) -> Mapping[str, Figure]:
    """Draw the error of each keypoint on validation after the last epoch: median and quartiles.

    Errors are in per cent of the image's normaliser. Images of several seeds are counted together.
    A panel per setting.
    """
    panels = _load(models)
    styles = line_styles(label for _, _, errors in panels for label in errors)
    if not panels:
        return {}
    check_legible("keypoint_errors", panels=len(panels), lines=len(styles))
    figure = panel_grid(len(panels), width=4.6)
    for axis, (title, run, errors) in zip(figure.axes, panels, strict=True):
        for label, seeds in errors.items():
            _draw_quartiles(axis, np.concatenate(seeds), styles[label], label)
        axis.set(title=title, ylim=(0, None))
        axis.set_ylabel(f"error (% of {_normaliser(run)})\nmedian and quartiles")
        _name_keypoints(axis, run.labels)
    legend_below(figure)
    return {"keypoint_errors": figure}


def draw_pck(models: Sequence[ModelRecord], options: FigureOptions) -> Mapping[str, Figure]:
    """Draw the share of keypoints with an error below t normalisers, over t (PCK).

    On validation after the last epoch, up to the largest threshold of the run; mean and std over
    seeds. A panel per setting.
    """
    panels = _load(models)
    styles = line_styles(label for _, _, errors in panels for label in errors)
    if not panels:
        return {}
    check_legible("pck", panels=len(panels), lines=len(styles))
    lines: list[Line] = []
    figure = panel_grid(len(panels))
    for axis, (title, run, errors) in zip(figure.axes, panels, strict=True):
        largest = float(run.settings["task.metric.pck_thresholds"][-1])
        distances = np.linspace(0.0, largest, NUM_DISTANCES)
        for label, seeds in errors.items():
            shares = np.array([shares_below(each, distances) for each in seeds])
            spread = shares.std(axis=0, ddof=1) if len(seeds) > 1 else np.zeros(NUM_DISTANCES)
            counts = np.full(NUM_DISTANCES, len(seeds))
            line = Line(
                x=distances,
                mean=shares.mean(axis=0),
                std=spread,
                num_seeds=counts,
                possible=(0.0, 1.0),
            )
            draw_line(axis, line, styles[label], label)
            lines.append(line)
        axis.set(title=title, xlim=(0, largest), ylim=(0, 1.02))
        axis.set_xlabel(f"t / {_normaliser(run)}")
    note = seeds_note(lines)
    figure.axes[0].set_ylabel("share of keypoints with error < t" + (f"\n({note})" if note else ""))
    legend_below(figure)
    return {"pck": figure}


def shares_below(errors: Array, distances: Array) -> Array:
    """Return the share of annotated keypoints with an error below each distance, (T,).

    Args:
        errors: (N, K), NaN for keypoints without annotation.
        distances: (T,), in the units of the errors.
    """
    known = np.sort(errors[~np.isnan(errors)])
    shares: Array = np.searchsorted(known, distances, side="left") / max(len(known), 1)
    return shares


def _load(models: Sequence[ModelRecord]) -> list[tuple[str, RunRecord, _Errors]]:
    """Return the title of each panel, its first run, and its relative errors."""
    return [
        (group.label, group.members[0].models[0].run, errors)
        for group in setting_groups(models, task=TASK)
        if (errors := {m.label: seeds for m in group.members if (seeds := _errors(m))})
    ]


def _errors(member: SeedGroup) -> list[Array]:
    """Return errors over normalisers, (N, K) for each seed, NaN if either is unknown."""
    names = ("errors_px", "normaliser_px")
    found = [load_last_predictions(model.run, model.name, names) for model in member.models]
    errors = [
        each["errors_px"] / each["normaliser_px"][:, None] for each in found if each is not None
    ]
    return [each for each in errors if not np.isnan(each).all()]


def _draw_quartiles(axis: Axes, errors: Array, style: LineStyle, label: str) -> None:
    """Draw median and quartiles of each keypoint that is annotated anywhere."""
    is_known = ~np.isnan(errors).all(axis=0)
    quartiles = np.full((3, errors.shape[1]), np.nan)
    quartiles[:, is_known] = 100 * np.nanpercentile(errors[:, is_known], _QUARTILES, axis=0)
    low, median, high = quartiles
    indices = np.arange(errors.shape[1])
    axis.fill_between(indices, low, high, color=style["color"], alpha=0.15, linewidth=0)
    every = max(1, len(indices) // _MAX_MARKED)
    axis.plot(indices, median, markersize=3, markevery=every, label=label, **style)


def _name_keypoints(axis: Axes, names: Sequence[str]) -> None:
    """Label keypoints by name, or by index if they have no names or there are too many."""
    axis.set_xlim(-0.5, len(names) - 0.5)
    if list(names) == [str(index) for index in range(len(names))] or len(names) > _MAX_NAMED:
        axis.set_xlabel("keypoint (index)")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    axis.set_xlabel("keypoint")
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)


def _normaliser(run: RunRecord) -> str:
    """Return the name of the length that errors are divided by."""
    is_box = run.settings.get("task.metric.eyes") is None
    return "box diagonal" if is_box else "eye distance"
