"""Learning-rate range tests."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from visionlab.analysis.figures.legend import legend_below, legend_handles
from visionlab.analysis.figures.lines import is_illegible
from visionlab.analysis.figures.range_test_curve import draw_curve
from visionlab.analysis.figures.style import panel_grid
from visionlab.analysis.groups import group_by
from visionlab.analysis.models import SEED, ModelRecord, split_varying_settings
from visionlab.analysis.options import FigureOptions
from visionlab.core.range_test import smooth, suggest_lr
from visionlab.files.run_folder import RangeTestPoint, read_range_test

_FILE = "range_test.csv"


def draw_range_test(models: Sequence[ModelRecord], options: FigureOptions) -> Mapping[str, Figure]:
    """Draw the loss over the learning rate of range tests, a panel per run.

    Raises:
        ValueError: the file of a range test has other content.
    """
    tests = _load(models)
    if not tests or is_illegible("range_test", num_panels=len(tests), num_lines=0):
        return {}
    figure = panel_grid(len(tests))
    for (title, points), axis in zip(tests, figure.axes, strict=True):
        lrs, losses = [point.lr for point in points], [point.loss for point in points]
        means = smooth(losses)
        found = suggest_lr(lrs, means)
        draw_curve(axis, lrs=lrs, losses=losses, smoothed=means, suggestion=found)
        best = "" if found is None else f"falls fastest at {found:.2g}"
        axis.set_title("\n".join(filter(None, (title, best))))
    # the titles have the values that follow the colon
    handles = {label.partition(":")[0]: each for label, each in legend_handles(figure).items()}
    legend_below(figure, handles)
    return {"range_test": figure}


def _load(models: Sequence[ModelRecord]) -> list[tuple[str, list[RangeTestPoint]]]:
    """Return the range tests of runs, each with its settings."""
    raw = [each for each in models if each.is_raw and (each.run.folder / _FILE).exists()]
    keys, _ = split_varying_settings(raw)
    if len({model.run.seed for model in raw}) > 1:
        keys = [*keys, SEED]
    tests = [(title, _read(model)) for title, members in group_by(raw, keys) for model in members]
    return [(title, points) for title, points in tests if points]


def _read(model: ModelRecord) -> list[RangeTestPoint]:
    path = model.run.folder / _FILE
    try:
        return read_range_test(path)
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path} must have numeric columns step, lr, loss") from error
