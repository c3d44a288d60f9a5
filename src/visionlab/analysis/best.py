"""Which of several averages is best."""

from collections.abc import Sequence

import numpy as np

from visionlab.analysis.measures import in_row
from visionlab.analysis.panels import Line


def best_line(lines: Sequence[Line]) -> Line | None:
    """Return the line whose monitored number is best after its last epoch, in the mean over seeds.

    It is the first of equals, and of lines without such a number; None if there is no line.
    """
    return max(lines, key=_quality, default=None)


def _quality(line: Line) -> float:
    """Return what is higher for better lines."""
    settings = line.models[0].run.settings
    value, is_more_better = f"val/{settings['task.monitor']}", settings["task.mode"] == "max"
    numbers = [in_row(model, model.run.rows[-1], value) for model in line.models if model.run.rows]
    known = [number for number in numbers if number is not None]
    if not known:
        return -np.inf
    return float(np.mean(known)) * (1 if is_more_better else -1)
