"""Progress of a run: a log line per epoch and, on a terminal, a progress bar."""

import logging
import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor

from visionlab.config.terminal import table_text
from visionlab.core.processes import rank
from visionlab.engine.evaluation import Result
from visionlab.engine.state import TrainState

_MAX_COLUMNS = 7  # of metrics, in a table 100 characters wide
_log = logging.getLogger(__name__)


class Terminal:
    """Logs one line per epoch; on a terminal, shows a bar with loss, rate, speed and time left.

    The line has the validation metric `monitor` of each model. Steps and epochs are those of the
    whole run, which starts, or resumes, at `state`.
    """

    def __init__(self, state: TrainState, *, total_steps: int, epochs: int, monitor: str) -> None:
        self._epochs = epochs
        self._monitor = monitor
        self._loss: float | None = None
        self._num_samples = 0
        self._stepped = self._epoch_started = self._started = time.monotonic()
        self._total_samples = 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=Console(),
            disable=rank() > 0 or not sys.stdout.isatty(),
            transient=True,
            refresh_per_second=4,
        )
        self._bar = self._progress.add_task("", total=total_steps, completed=state.step, speed="")
        self._progress.start()

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        """Advance the bar."""
        self._stepped = time.monotonic()
        self._num_samples += num_samples
        self._total_samples += num_samples
        if self._progress.disable:
            return
        self._loss = state.means.latest.get("loss", self._loss)
        shown = "" if self._loss is None else f"loss {self._loss:.3f}  "
        speed = self._total_samples / (self._stepped - self._started)
        self._progress.update(
            self._bar,
            completed=state.step,
            description=f"epoch {state.epoch + 1}/{self._epochs}  {shown}lr {lr:.3g}",
            speed=f"{speed:,.0f} images/s",
        )

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Log one line; images/s covers training only, the seconds the whole epoch."""
        train = [name for name in dict.fromkeys(("loss", self._monitor)) if f"train/{name}" in row]
        val = [f"{name} {each.metrics[self._monitor]:.4f}" for name, each in results.items()]
        now = time.monotonic()
        speed = self._num_samples / max(self._stepped - self._epoch_started, 1e-9)
        parts = [
            f"epoch {row['epoch']:.4g}/{self._epochs}",
            f"lr {row['lr']:.3g}",
            *[f"train {name} {row[f'train/{name}']:.4f}" for name in train],
            *([f"val {self._monitor}:", *val] if val else []),
            f"{now - self._epoch_started:.1f} s",
            f"{speed:,.0f} images/s",
        ]
        _log.info("%s", "  ".join(parts))
        self._num_samples, self._epoch_started = 0, now

    def close(self) -> None:
        """Remove the bar."""
        self._progress.stop()


def log_metrics(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Log the metrics on each split as a table, with one row per model or, if wide, per metric."""
    for split, models in results.items():
        rows = models
        if len(next(iter(models.values()), {})) > _MAX_COLUMNS:
            names = next(iter(models.values()))
            rows = {name: {model: models[model][name] for model in models} for name in names}
        columns = list(next(iter(rows.values()), {}))
        table = Table("", *columns, title=split, title_justify="left")
        for label, values in rows.items():
            table.add_row(label, *(f"{values[column]:.4f}" for column in columns))
        _log.info("%s", table_text(table, width=100))
