"""Observers record every step and epoch of a run and must not change training.

With or without them, a seed gives bit-identical weights.
"""

import inspect
import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from visionlab.engine.evaluation import Result
from visionlab.engine.state import TrainState
from visionlab.files.atomic import append_text, write_file, write_text
from visionlab.files.run_folder import read_rows

# positional and keyword arguments of the methods of an observer
_CALLS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "on_step": (["state"], ["lr", "loss", "num_samples"]),
    "on_epoch": (["row", "results"], []),
    "close": ([], []),
}


class Observer(Protocol):
    """Observer protocol; an observer must not change training. Methods do nothing by default."""

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        """Handle a finished optimizer step; `loss` is a scalar on the device, maybe non-finite."""
        return

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Handle the metrics row of an epoch and the validation results by model name."""
        return

    def close(self) -> None:
        """Write what is still buffered."""
        return


def check_observer(observer: Any, *, key: str) -> None:
    """Check the methods of an observer or of a class of observers; `key` is its setting.

    Raises:
        ValueError: one is missing, or cannot be called as the loop does.
    """
    name = getattr(observer, "__name__", type(observer).__name__)
    for method, (given, named) in _CALLS.items():
        arguments = ", ".join([*given, *(["*", *named] if named else [])])
        rule = f"{key} must have a method {method}({arguments})"
        if not callable(found := getattr(observer, method, None)):
            raise ValueError(f"{rule}, got {name}, which has none")
        is_unbound = inspect.isclass(observer) and inspect.isfunction(
            inspect.getattr_static(observer, method)
        )
        own = (None,) if is_unbound else ()
        signature = inspect.signature(found)
        try:
            signature.bind(*own, *given, **dict.fromkeys(named))
        except TypeError as error:
            raise ValueError(f"{rule}, got {name}.{method}{signature}") from error


class MetricsFile(Observer):
    """Appends each row to `metrics.jsonl`; non-finite numbers become null.

    The first step removes an incomplete last line and rows after `epoch`, the last finished one.
    """

    def __init__(self, path: Path, *, epoch: int) -> None:
        self._path = path
        self._epoch = epoch
        self._is_trimmed = False

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        """Remove rows that an earlier process wrote after its last checkpoint."""
        self._trim()

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Append the row.

        Raises:
            OSError: the file cannot be written.
        """
        self._trim()
        content = {key: value if math.isfinite(value) else None for key, value in row.items()}
        append_text(self._path, json.dumps(content) + "\n")

    def _trim(self) -> None:
        if not self._is_trimmed:
            rows = [row for row in read_rows(self._path) if row["epoch"] <= self._epoch]
            write_text(self._path, "".join(json.dumps(row) + "\n" for row in rows))
            self._is_trimmed = True


class Predictions(Observer):
    """Writes the metric's per-sample results on validation to `<epoch>_<model>.npz`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Write one file per model; an epoch that a rule cut short has its number rounded up."""
        for name, result in results.items():
            path = self._folder / f"{math.ceil(row['epoch']):04d}_{name}.npz"
            _write_arrays(path, result.samples)


class Pictures(Observer):
    """Keeps the model's latest validation samples and draws them at the end."""

    def __init__(self, draw: Callable[[dict[str, Tensor]], None]) -> None:
        self._draw = draw
        self._samples: dict[str, Tensor] | None = None

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Keep the newest samples."""
        if results:
            self._samples = results["model"].samples

    def draw(self) -> None:
        """Draw the latest samples, if any."""
        if self._samples is not None:
            self._draw(self._samples)


class TensorBoard(Observer):
    """Logs each row over steps, under the keys of the row; lists the run under HParams.

    The HParams tab finds the settings and metrics to compare from all runs by itself: an experiment
    summary would restrict it to those of one run.

    Args:
        folder: where the event file goes.
        step: steps done so far; points that an earlier process logged after it are hidden.
        config: the configuration as YAML, shown as text.
        settings: hyperparameters to compare runs by.
    """

    def __init__(
        self, folder: Path, *, step: int, config: str, settings: Mapping[str, float | str]
    ) -> None:
        is_first = not any(folder.glob("events.out.tfevents.*"))
        self._writer = SummaryWriter(folder, purge_step=step + 1 if step else None)
        if is_first:
            # indented Markdown is code, and no text in it can end that
            self._writer.add_text("config", textwrap.indent(config, "    ", lambda _: True))
            _, begin, _ = hparams(dict(settings), {})
            self._writer.file_writer.add_summary(begin)
            self._writer.flush()

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Add a point to each curve."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, global_step=int(row["step"]))
        self._writer.flush()

    def finish(self, row: Mapping[str, float]) -> None:
        """Log the final metrics and mark the run as finished under HParams."""
        self.on_epoch(row, {})
        _, _, end = hparams({}, {})
        self._writer.file_writer.add_summary(end)
        self._writer.flush()

    def close(self) -> None:
        """Write what is still buffered."""
        self._writer.close()


def _write_arrays(path: Path, samples: Mapping[str, Tensor]) -> None:
    arrays = {key: tensor.cpu().numpy() for key, tensor in samples.items()}
    write_file(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))
