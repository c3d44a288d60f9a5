"""Observer of a range test: records rate and loss of each step."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from visionlab.core.range_test import smooth, suggest_lr
from visionlab.engine.evaluation import Result
from visionlab.engine.state import TrainState
from visionlab.files.atomic import csv_text, write_text
from visionlab.files.run_folder import RangeTestPoint, read_range_test

_READ_EVERY_STEPS = 64
_HEADER = ("step", "lr", "loss", "smoothed_loss")
_log = logging.getLogger(__name__)


class RangeCurve:
    """Records rate and loss of each step; at the end, draws them and logs a suggested rate.

    The file is written after each epoch and when the run ends, however it ends. Recording stops at
    the first non-finite loss.

    Args:
        path: a CSV file; rows of an earlier process after `step` are dropped.
        step: steps done so far.
        draw: called with `lrs`, `losses`, `smoothed` and `suggestion`.
    """

    def __init__(self, path: Path, *, step: int, draw: Callable[..., None]) -> None:
        self._path = path
        self._draw = draw
        self._points = [point for point in read_range_test(path) if point.step <= step]
        self._pending: list[tuple[int, float, Tensor]] = []
        self._is_finite = True

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        """Record the step; synchronise with a GPU only every few steps."""
        self._pending.append((state.step, lr, loss))
        if len(self._pending) >= _READ_EVERY_STEPS:
            self._read()

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Write the file.

        Raises:
            OSError: the file cannot be written.
        """
        self._read()
        self._write(smooth([point.loss for point in self._points]))

    def close(self) -> None:
        """Write the file, draw it, and log the suggestion."""
        self._read()
        if not self._points:
            return
        lrs, losses = [point.lr for point in self._points], [point.loss for point in self._points]
        means = smooth(losses)
        self._write(means)
        found = suggest_lr(lrs, means)
        self._draw(lrs=lrs, losses=losses, smoothed=means, suggestion=found)
        if found is None:
            text = "no suggestion, the loss does not fall or there are too few steps"
        else:
            text = f"going {'up' if lrs[-1] > lrs[0] else 'down'} from {lrs[0]:.3g} "
            text += f"to {lrs[-1]:.3g}, the loss falls fastest at lr {found:.2g}"
        _log.info("range test: %s", text)

    def _read(self) -> None:
        if self._pending:
            values = torch.stack([loss for *_, loss in self._pending]).tolist()
            for (step, lr, _), value in zip(self._pending, values, strict=True):
                self._is_finite = self._is_finite and math.isfinite(value)
                if self._is_finite:
                    self._points.append(RangeTestPoint(step, lr, value))
            self._pending = []

    def _write(self, means: Sequence[float]) -> None:
        rows = [(*point, mean) for point, mean in zip(self._points, means, strict=True)]
        write_text(self._path, csv_text([_HEADER, *rows]))
