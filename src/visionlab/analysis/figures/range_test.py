"""Learning-rate range tests of runs."""

from collections.abc import Mapping
from copy import copy

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from visionlab.analysis.asked import Asked
from visionlab.analysis.figures.labels import grouped, settings_apart
from visionlab.analysis.figures.legends import put_below
from visionlab.analysis.figures.lines import are_too_many
from visionlab.analysis.figures.range_test_curve import draw_curve
from visionlab.analysis.figures.style import panels, styled
from visionlab.core.range_test import smooth, suggest_lr
from visionlab.files.run_folder import RangeTestPoint, read_range_test


def draw_range_test(asked: Asked) -> Mapping[str, Figure]:
    """Draw the loss of each step of a range test over the learning rate, a panel for each run.

    Raises:
        ValueError: a run's file of its range test holds something else.
    """
    tests = _tests(asked)
    if not tests or are_too_many("range_test", num_panels=len(tests), num_lines=0):
        return {}
    with styled():
        figure = panels(len(tests))
        for (title, points), axis in zip(tests, figure.axes, strict=True):
            lrs, losses = [point.lr for point in points], [point.loss for point in points]
            means = smooth(losses)
            found = suggest_lr(lrs, means)
            draw_curve(axis, lrs=lrs, losses=losses, smoothed=means, suggestion=found)
            best = "" if found is None else f"falls fastest at {found:.2g}"
            axis.set_title("\n".join(filter(None, (title, best))))
        put_below(figure, _handles(figure), title=None)
    return {"range_test": figure}


def _handles(figure: Figure) -> list[Line2D]:
    """Return one line of each kind; the titles say where losses fall fastest."""
    lines = [line for axis in figure.axes for line in axis.get_lines()]
    kinds = {str(line.get_label()).partition(":")[0]: line for line in lines}
    found = [copy(line) for kind, line in kinds.items() if not kind.startswith("_")]
    for line in found:
        line.set_label(str(line.get_label()).partition(":")[0])
    return found


def _tests(asked: Asked) -> list[tuple[str, list[RangeTestPoint]]]:
    """Return the range tests there are, each with its settings."""
    models = [model for model in asked.models if model.name == "model"]
    models = [model for model in models if (model.run.folder / "range_test.csv").exists()]
    keys, _ = settings_apart(models)
    seeds = {model.run.seed for model in models}
    found = []
    for title, members in grouped(models, [*keys, "global_seed"] if len(seeds) > 1 else keys):
        for model in members:
            path = model.run.folder / "range_test.csv"
            try:
                points = read_range_test(path)
            except (KeyError, ValueError, TypeError) as error:
                raise ValueError(f"{path} must have columns step, lr, loss of numbers") from error
            if points:
                found.append((title, points))
    return found
