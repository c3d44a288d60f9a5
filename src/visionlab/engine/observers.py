"""Observers see every step and epoch of a run, write it down, and touch nothing.

With or without them a seed gives bit-identical weights.
"""

import functools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from visionlab.engine.evaluation import Result
from visionlab.engine.state import TrainState
from visionlab.files.atomic import append_text, write_file, write_text
from visionlab.files.run_folder import read_rows


class Observer(Protocol):
    """Somebody who looks."""

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        """See an optimizer step just done; `loss` is a scalar, maybe not finite, on the device."""

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """See the metrics row of an epoch, and the validation of each model by name."""

    def close(self) -> None:
        """Write down what is left."""


class MetricsFile:
    """Appends each row to `metrics.jsonl`; a number that is not finite becomes null.

    Args:
        path: the file. Once the run moves, rows after `epoch` are removed, and a torn line.
        epoch: epochs finished so far.
    """

    def __init__(self, path: Path, *, epoch: int) -> None:
        self._path = path
        self._epoch = epoch
        self._is_trimmed = False

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        """Remove what an earlier process wrote after its last checkpoint."""
        self._trim()

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Append the row.

        Raises:
            OSError: the disk is full or refuses.
        """
        self._trim()
        content = {key: value if math.isfinite(value) else None for key, value in row.items()}
        append_text(self._path, json.dumps(content) + "\n")

    def close(self) -> None:
        """Do nothing."""

    def _trim(self) -> None:
        if not self._is_trimmed:
            rows = [row for row in read_rows(self._path) if row["epoch"] <= self._epoch]
            write_text(self._path, "".join(json.dumps(row) + "\n" for row in rows))
            self._is_trimmed = True


class Predictions:
    """Writes `<epoch>_<model>.npz` with what the metric knows of each validation sample.

    Args:
        folder: `predictions/` of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        """Do nothing."""

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Write one file a model; an epoch cut short by a rule has the number of the whole one."""
        for name, result in results.items():
            arrays = {key: tensor.cpu().numpy() for key, tensor in result.samples.items()}
            path = self._folder / f"{math.ceil(row['epoch']):04d}_{name}.npz"
            write_file(path, functools.partial(_write_arrays, arrays=arrays))

    def close(self) -> None:
        """Do nothing."""


class Pictures:
    """Keeps what the model in training did with the validation samples, to draw at the end.

    Args:
        draw: writes the pictures, given the samples.
    """

    def __init__(self, draw: Callable[[dict[str, Tensor]], None]) -> None:
        self._draw = draw
        self._samples: dict[str, Tensor] | None = None

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        """Do nothing."""

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Keep the newest samples."""
        if results:
            self._samples = results["model"].samples

    def draw(self) -> None:
        """Draw."""
        if self._samples is not None:
            self._draw(self._samples)

    def close(self) -> None:
        """Do nothing."""


class TensorBoard:
    """Draws each row, over steps, under the row's own names; lists the run under HParams.

    What runs are compared by under HParams, its tab finds out by itself from the settings and
    curves of all of them: an experiment's summary would let only those of one run count.

    Args:
        folder: where the event file goes.
        step: steps done so far; what an earlier process drew after it is hidden.
        config: the configuration as YAML, shown as text.
        settings: by which the run is compared with others.
    """

    def __init__(
        self, folder: Path, *, step: int, config: str, settings: Mapping[str, float | str]
    ) -> None:
        is_first = not any(folder.glob("events.out.tfevents.*"))
        self._writer = SummaryWriter(folder, purge_step=step + 1 if step else None)
        if is_first:
            self._writer.add_text("config", f"```yaml\n{config}\n```")
            _, begin, _ = hparams(dict(settings), {})
            self._writer.file_writer.add_summary(begin)
            self._writer.flush()

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        """Do nothing."""

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Add a point to each curve."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, global_step=int(row["step"]))
        self._writer.flush()

    def finish(self, row: Mapping[str, float]) -> None:
        """Draw the final numbers, and say that the run has them."""
        self.on_epoch(row, {})
        _, _, end = hparams({}, {})
        self._writer.file_writer.add_summary(end)
        self._writer.flush()

    def close(self) -> None:
        """Write down what is left."""
        self._writer.close()


def _write_arrays(file: BinaryIO, *, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    np.savez_compressed(file, allow_pickle=False, **arrays)
