"""Learning-rate range tests: loss over learning rate."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.analysis.figures.lines import check_legible
from visionlab.analysis.figures.style import (
    BLUE,
    VERMILION,
    legend_below,
    legend_handles,
    panel_grid,
)
from visionlab.analysis.groups import group_by
from visionlab.analysis.models import SEED, ModelRecord, split_varying_settings
from visionlab.analysis.options import FigureOptions
from visionlab.core.range_test import smooth, suggest_lr
from visionlab.files.figures import write_figure
from visionlab.files.run_folder import RangeTestPoint, read_range_test

_FILE = "range_test.csv"


def draw_range_test(models: Sequence[ModelRecord], options: FigureOptions) -> Mapping[str, Figure]:
    """Draw the loss over the learning rate of range tests, a panel per run.

    Raises:
        ValueError: the file of a range test has other content.
    """
    tests = _load(models)
    if not tests:
        return {}
    check_legible("range_test", panels=len(tests))
    figure = panel_grid(len(tests))
    for (title, points), axis in zip(tests, figure.axes, strict=True):
        lrs, losses = [point.lr for point in points], [point.loss for point in points]
        means = smooth(losses)
        found = suggest_lr(lrs, means)
        _draw_curve(axis, lrs, losses, means, found)
        best = "" if found is None else f"falls fastest at {found:.2g}"
        axis.set_title("\n".join(filter(None, (title, best))))
    # the titles have the values that follow the colon
    handles = {label.partition(":")[0]: each for label, each in legend_handles(figure).items()}
    legend_below(figure, handles)
    return {"range_test": figure}


def write_range_test(
    path: Path,
    *,
    lrs: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None,
) -> None:
    """Write a PNG of loss and smoothed loss of each step over its learning rate.

    The suggestion, one of the rates, is marked. The folder is made if missing.
    """
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axis = figure.subplots()
    way = "up" if lrs[-1] > lrs[0] else "down"
    axis.set_title(f"Range test: the rate moves {way} from {lrs[0]:.3g} to {lrs[-1]:.3g}")
    _draw_curve(axis, lrs, losses, smoothed, suggestion)
    axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_figure(figure, path, dpi=120)


def _draw_curve(
    axis: Axes,
    lrs: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None,
) -> None:
    axis.plot(lrs, losses, color=BLUE, alpha=0.25, linewidth=0.8, label="loss of each step")
    axis.plot(lrs, smoothed, color=BLUE, linewidth=2.0, label="smoothed")
    if suggestion is not None:
        height = smoothed[list(lrs).index(suggestion)]
        label = f"falls fastest: lr {suggestion:.2g}"
        axis.axvline(suggestion, color=VERMILION, linestyle="--", linewidth=1.0)
        axis.plot([suggestion], [height], "o", color=VERMILION, label=label)
    # a loss that explodes would flatten the rest
    top = max(smoothed[: smoothed.index(min(smoothed)) + 1])
    margin = 0.25 * (top - min(losses)) or 1.0
    axis.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    axis.set_ylim(min(losses) - 0.2 * margin, top + margin)


def _load(models: Sequence[ModelRecord]) -> list[tuple[str, list[RangeTestPoint]]]:
    """Return the range tests of runs, each with its settings."""
    raw = [each for each in models if each.is_raw and (each.run.folder / _FILE).exists()]
    keys, _ = split_varying_settings(raw)
    if len({model.run.seed for model in raw}) > 1:
        keys = [*keys, SEED]
    tests = [(title, _read(model)) for title, members in group_by(raw, keys) for model in members]
    return [(title, points) for title, points in tests if points]


def _read(model: ModelRecord) -> list[RangeTestPoint]:
    return read_range_test(model.run.folder / _FILE)
