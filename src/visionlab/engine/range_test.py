"""Rate and loss of each step while the rate moves over a range, and the rate that they suggest.

From L. Smith's range test (arXiv 1506.01186, section 3.3) comes the idea: one run in which the rate
moves over the whole range, and a rate read off its curve. Smith reads two bounds off the accuracy
by eye. Here the rate where the smoothed loss falls fastest is suggested, as practitioners do: a
place to start from, not a measured best.
"""

import csv
import io
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from visionlab.engine.evaluate import Result
from visionlab.engine.state import TrainState
from visionlab.storage import write_text

_READ_EVERY_STEPS = 64
_PARTS = 20
_MIN_MARGIN = 5
_HEADER = ("step", "lr", "loss", "smoothed_loss")
_log = logging.getLogger(__name__)


class Point(NamedTuple):
    """One step."""

    step: int
    lr: float
    loss: float


class RangeCurve:
    """Keeps rate and loss of each step; at the end it has them drawn and logs a suggestion.

    The file is written at each epoch's end and when the run ends, however it ends; from the first
    loss on that is not finite nothing is kept.

    Args:
        path: a CSV file; of an earlier process of the run, what lies after `step` is dropped.
        step: steps done so far.
        draw: called with `lrs`, `losses`, `smoothed` and `suggestion`.
    """

    def __init__(self, path: Path, *, step: int, draw: Callable[..., None]) -> None:
        self._path = path
        self._draw = draw
        self._points = [point for point in read_points(path) if point.step <= step]
        self._pending: list[tuple[int, float, Tensor]] = []
        self._is_finite = True

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        """Note the step; a GPU is waited for at few of them."""
        self._pending.append((state.step, lr, loss))
        if len(self._pending) >= _READ_EVERY_STEPS:
            self._read()

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Write the file.

        Raises:
            OSError: the disk is full or refuses.
        """
        self._read()
        self._write(smoothed([point.loss for point in self._points]))

    def close(self) -> None:
        """Write the file, draw it, and log the suggestion."""
        self._read()
        if not self._points:
            return
        lrs = [point.lr for point in self._points]
        losses = [point.loss for point in self._points]
        means = smoothed(losses)
        self._write(means)
        found = suggestion(lrs, means)
        self._draw(lrs=lrs, losses=losses, smoothed=means, suggestion=found)
        if found is None:
            _log.info("range test: the loss does not fall, or over too few steps; no suggestion")
        else:
            way = "up" if lrs[-1] > lrs[0] else "down"
            _log.info(
                "range test: on the way %s from %.3g to %.3g the loss falls fastest at lr %.2g",
                *(way, lrs[0], lrs[-1], found),
            )

    def _read(self) -> None:
        if self._pending:
            values = torch.stack([loss for *_, loss in self._pending]).tolist()
            for (step, lr, _), value in zip(self._pending, values, strict=True):
                self._is_finite = self._is_finite and math.isfinite(value)
                if self._is_finite:
                    self._points.append(Point(step, lr, value))
            self._pending = []

    def _write(self, means: Sequence[float]) -> None:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(_HEADER)
        rows.writerows((*point, mean) for point, mean in zip(self._points, means, strict=True))
        write_text(self._path, text.getvalue())


def read_points(path: Path) -> list[Point]:
    """Return what a `RangeCurve` wrote; nothing if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [Point(int(row["step"]), float(row["lr"]), float(row["loss"])) for row in rows]


def smoothed(losses: Sequence[float]) -> list[float]:
    """Return the mean around each step, with weights that fall to 0 over a twentieth of all steps.

    Unlike a mean of the past it does not lag: that would shift every suggestion along the way.
    """
    reach = len(losses) // _PARTS
    weights = reach + 1.0 - np.abs(np.arange(-reach, reach + 1))
    sums = np.convolve(losses, weights, mode="same")
    means: list[float] = (sums / np.convolve(np.ones(len(losses)), weights, mode="same")).tolist()
    return means


def suggestion(lrs: Sequence[float], means: Sequence[float]) -> float | None:
    """Return the rate where the smoothed loss falls fastest per logarithm of the rate, on the way.

    Looked at are the steps up to the lowest smoothed loss (a later fall is a recovery from losses
    that the rate itself made), without the first and the last twentieth, where the mean lacks a
    side. None if it falls nowhere there.

    Args:
        lrs: of the steps; they rise or fall throughout.
        means: the smoothed loss of each step.
    """
    margin = max(_MIN_MARGIN, len(means) // _PARTS)
    lowest = min(range(len(means)), key=means.__getitem__)
    steps = range(margin, min(lowest + 1, len(means) - margin))
    slopes = {
        step: (means[step + 1] - means[step - 1]) / abs(math.log(lrs[step + 1] / lrs[step - 1]))
        for step in steps
    }
    steepest = min(slopes, key=slopes.__getitem__, default=None)
    return lrs[steepest] if steepest is not None and slopes[steepest] < 0 else None
