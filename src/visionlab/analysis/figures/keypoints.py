"""How far found points are from true ones: point by point, and as a share over distance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from visionlab.analysis.asked import Asked
from visionlab.analysis.figures.legends import put_below
from visionlab.analysis.figures.style import Look, looks, panels, styled
from visionlab.analysis.panels import Line, Panel, panels_of
from visionlab.analysis.predictions import last_arrays
from visionlab.analysis.records import Record

Array = np.ndarray[Any, Any]
TASK = "keypoints"
NUM_DISTANCES = 201  # at which a PCK curve is drawn
_MAX_MARKED = 30  # points of a line that have a marker each
_MAX_NAMED = 30  # points with names along an axis
_QUARTERS = (25.0, 50.0, 75.0)  # per cent


def draw_keypoint_errors(asked: Asked) -> Mapping[str, Figure]:
    """Draw the error of each point after the last epoch, on validation: median and quartiles.

    Errors are in per cent of the normaliser of the image. Images of several seeds are counted
    together. A panel for each setting of training.
    """
    found = _found(asked)
    if not found:
        return {}
    labels = _labels(found)
    with styled():
        figure = panels(len(found), width=4.6)
        for axis, (panel, by_line) in zip(figure.axes, found, strict=True):
            for label, by_seed in by_line.items():
                _draw_errors(axis, np.concatenate(by_seed), looks(labels)[label], label)
            axis.set(title=panel.label, ylim=(0, None))
            axis.set_ylabel(f"error (% of {_normaliser(panel)})\nmedian and quartiles")
            _name_points(axis, _run(panel).about.get("labels", []))
        _put_legend_below(figure)
    return {"keypoint_errors": figure}


def draw_pck(asked: Asked) -> Mapping[str, Figure]:
    """Draw the share of points that are nearer than t normalisers, over t (PCK).

    After the last epoch, on validation, up to the largest of the run's thresholds; the mean over
    seeds, and a band of one standard deviation. A panel for each setting of training.
    """
    found = _found(asked)
    if not found:
        return {}
    labels = _labels(found)
    num_seeds = max(len(by_seed) for _, by_line in found for by_seed in by_line.values())
    with styled():
        figure = panels(len(found))
        for axis, (panel, by_line) in zip(figure.axes, found, strict=True):
            largest = float(_run(panel).settings["task.metric.pck_thresholds"][-1])
            distances = np.linspace(0.0, largest, NUM_DISTANCES)
            for label, by_seed in by_line.items():
                shares = np.array([shares_nearer(errors, distances) for errors in by_seed])
                _draw_shares(axis, distances, shares, looks(labels)[label], label)
            axis.set(title=panel.label, xlim=(0, largest), ylim=(0, 1.02))
            axis.set_xlabel(f"t / {_normaliser(panel)}")
        seeds = f"\n(mean ± std, {num_seeds} seeds)" if num_seeds > 1 else ""
        figure.axes[0].set_ylabel(f"share of points nearer than t{seeds}")
        _put_legend_below(figure)
    return {"pck": figure}


def shares_nearer(errors: Array, distances: Array) -> Array:
    """Return the share of known points with an error below each distance, (T,).

    Args:
        errors: (N, K), NaN where a point is not known.
        distances: (T,), in the units of the errors.
    """
    known = np.sort(errors[~np.isnan(errors)])
    shares: Array = np.searchsorted(known, distances, side="left") / max(len(known), 1)
    return shares


def _found(asked: Asked) -> list[tuple[Panel, dict[str, list[Array]]]]:
    """Return panels, with the relative errors (N, K) of each seed by the label of the line."""
    found = [
        (panel, {line.label: errors for line in panel.lines if (errors := _errors(line))})
        for panel in panels_of(asked.models, task=TASK)
    ]
    return [(panel, by_line) for panel, by_line in found if by_line]


def _labels(found: Sequence[tuple[Panel, Mapping[str, Any]]]) -> list[str]:
    return list(dict.fromkeys(label for _, by_line in found for label in by_line))


def _errors(line: Line) -> list[Array]:
    """Return errors in normalisers, (N, K) for each seed; of images without one there are none."""
    found = [
        last_arrays(model.run, model.name, ("errors_px", "normaliser_px")) for model in line.models
    ]
    errors = [
        arrays["errors_px"] / arrays["normaliser_px"][:, None]
        for arrays in found
        if arrays is not None
    ]
    return [each for each in errors if not np.isnan(each).all()]


def _draw_errors(axis: Axes, errors: Array, look: Look, label: str) -> None:
    """Draw median and quartiles of each point that is known anywhere."""
    is_known = ~np.isnan(errors).all(axis=0)
    low, middle, high = np.full((3, errors.shape[1]), np.nan)
    low[is_known], middle[is_known], high[is_known] = 100 * np.nanpercentile(
        errors[:, is_known], _QUARTERS, axis=0
    )
    points = np.arange(errors.shape[1])
    every = max(1, len(points) // _MAX_MARKED)
    axis.fill_between(points, low, high, color=look.color, alpha=0.15, linewidth=0)
    axis.plot(
        points,
        middle,
        color=look.color,
        linestyle=look.linestyle,
        marker=look.marker,
        markersize=3,
        markevery=every,
        label=label,
    )


def _draw_shares(axis: Axes, distances: Array, shares: Array, look: Look, label: str) -> None:
    """Draw the mean of the shares (S, T) of several seeds, and how far they spread."""
    mean = shares.mean(axis=0)
    axis.plot(
        distances,
        mean,
        color=look.color,
        linestyle=look.linestyle,
        marker=look.marker,
        markevery=NUM_DISTANCES // 8,
        label=label,
    )
    if len(shares) > 1:
        std = shares.std(axis=0, ddof=1)
        axis.fill_between(
            distances, mean - std, mean + std, color=look.color, alpha=0.2, linewidth=0
        )


def _name_points(axis: Axes, names: Sequence[str]) -> None:
    """Name points along the axis where they have names other than their numbers, and room."""
    axis.set_xlim(-0.5, len(names) - 0.5)
    if list(names) == [str(number) for number in range(len(names))] or len(names) > _MAX_NAMED:
        axis.set_xlabel("point, by number")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    axis.set_xlabel("point")
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7, parse_math=False)


def _put_legend_below(figure: Figure) -> None:
    lines = {str(line.get_label()): line for axis in figure.axes for line in axis.lines}
    put_below(figure, list(lines.values()), title=None)


def _run(panel: Panel) -> Record:
    return panel.lines[0].models[0].run


def _normaliser(panel: Panel) -> str:
    """Return what errors are measured in."""
    eyes = _run(panel).settings.get("task.metric.eyes")
    return "box diagonal" if eyes is None else "eye distance"
