"""Observers see every step and epoch of a run, write it down, and touch nothing.

With or without them a seed gives bit-identical weights.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from visionlab.engine.evaluate import Result
from visionlab.engine.state import TrainState
from visionlab.storage import write_text


class Observer(Protocol):
    """Somebody who looks."""

    def on_step(self, state: TrainState, *, lr: float, num_samples: int) -> None:
        """See an optimizer step just done."""

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """See the metrics row of an epoch, and the validation of each model by name."""

    def close(self) -> None:
        """Write down what is left."""


class MetricsFile:
    """Appends each row to `metrics.jsonl`; a number that is not finite becomes null.

    Args:
        path: the file. Rows after `epoch`, written before a kill, are removed, a torn line too.
        epoch: epochs finished so far.
    """

    def __init__(self, path: Path, *, epoch: int) -> None:
        self._path = path
        rows = [json.dumps(row) + "\n" for row in read_rows(path) if row["epoch"] <= epoch]
        write_text(path, "".join(rows))

    def on_step(self, state: TrainState, *, lr: float, num_samples: int) -> None:
        """Do nothing."""

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Append the row."""
        content = {key: value if math.isfinite(value) else None for key, value in row.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")

    def close(self) -> None:
        """Do nothing."""


class Predictions:
    """Writes `<epoch>_<model>.npz` with what the metric knows of each validation sample.

    Args:
        folder: `predictions/` of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def on_step(self, state: TrainState, *, lr: float, num_samples: int) -> None:
        """Do nothing."""

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Write one file a model; an epoch cut short by a rule has the number of the whole one."""
        for name, result in results.items():
            arrays = {key: tensor.cpu().numpy() for key, tensor in result.samples.items()}
            path = self._folder / f"{math.ceil(row['epoch']):04d}_{name}.npz"
            aside = path.with_name(f".{path.name}")
            with aside.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
            aside.replace(path)

    def close(self) -> None:
        """Do nothing."""


class Pictures:
    """Draws, at the end, what the model in training did with the validation samples.

    Args:
        draw: writes the pictures, given the samples.
    """

    def __init__(self, draw: Callable[[dict[str, Tensor]], None]) -> None:
        self._draw = draw
        self._samples: dict[str, Tensor] | None = None

    def on_step(self, state: TrainState, *, lr: float, num_samples: int) -> None:
        """Do nothing."""

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Keep the newest samples."""
        if results:
            self._samples = results["model"].samples

    def close(self) -> None:
        """Draw."""
        if self._samples is not None:
            self._draw(self._samples)


class TensorBoard:
    """Draws each row, over steps, under the row's own names.

    Args:
        folder: where the event file goes.
        step: steps done so far; what an earlier process drew after it is hidden.
        config: the configuration as YAML, shown as text.
    """

    def __init__(self, folder: Path, *, step: int, config: str) -> None:
        self._writer = SummaryWriter(folder, purge_step=step + 1 if step else None)
        if not step:
            self._writer.add_text("config", f"```yaml\n{config}\n```")

    def on_step(self, state: TrainState, *, lr: float, num_samples: int) -> None:
        """Do nothing."""

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Add a point to each curve."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, global_step=int(row["step"]))
        self._writer.flush()

    def close(self) -> None:
        """Write down what is left."""
        self._writer.close()


def read_rows(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics file; a last line that was cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("}\n")]
