"""Progress of a run: a log line per epoch and, on a terminal, a progress bar."""

import logging
import math
import sys
import time
from collections.abc import Mapping
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor

from visionlab.config.terminal import printable, table_text
from visionlab.core.processes import rank
from visionlab.engine.evaluation import Result
from visionlab.engine.speed import SILENT_SECONDS, describe_speed
from visionlab.engine.state import TrainState

_MAX_COLUMNS = 7  # of metrics, in a table 100 characters wide
_log = logging.getLogger(__name__)


class Terminal:
    """Logs one line per epoch; on a terminal, shows a bar with loss, rate, speed and time left.

    Without a terminal, long epochs have a line a minute with the same.
    The line has the validation metric `monitor` of each model, marked if it is the best so far.
    Steps and epochs are those of the whole run, which starts, or resumes, at `state`.
    """

    def __init__(self, state: TrainState, *, total_steps: int, epochs: int, monitor: str) -> None:
        self._epochs = epochs
        self._monitor = monitor
        self._first_step, self._total_steps = state.step, total_steps
        self._loss: float | None = None
        self._num_samples = 0
        self._stepped = self._epoch_started = self._started = self._logged = time.monotonic()
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
        """Advance the bar, or log a line if there was none for a minute."""
        self._stepped = time.monotonic()
        self._num_samples += num_samples
        self._total_samples += num_samples
        is_due = self._stepped - self._logged >= SILENT_SECONDS
        if self._progress.disable and not is_due:
            return
        place = f"epoch {state.epoch + 1}/{self._epochs}"
        speed = describe_speed(self._total_samples, self._stepped - self._started)
        if self._progress.disable:
            self._log_step(
                f"{place}  step {state.step}/{self._total_steps}", state, lr, loss, speed
            )
            return
        self._loss = state.means.latest.get("loss", self._loss)
        shown = "" if self._loss is None else f"loss {self._loss:.3f}  "
        self._progress.update(
            self._bar,
            completed=state.step,
            description=f"{place}  {shown}lr {lr:.3g}",
            speed=speed,
        )

    def _log_step(self, place: str, state: TrainState, lr: float, loss: Tensor, speed: str) -> None:
        self._logged = self._stepped
        step_seconds = (self._stepped - self._started) / (state.step - self._first_step)
        left = timedelta(seconds=round(step_seconds * (self._total_steps - state.step)))
        _log.info("%s  loss %.4f  lr %.3g  %s  %s left", place, loss.item(), lr, speed, left)

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Log one line; images/s covers training only, the seconds the whole epoch."""
        names = [name for name in dict.fromkeys(("loss", self._monitor)) if f"train/{name}" in row]
        train = {name: f"{row[f'train/{name}']:.4f}" for name in names}
        if "train/loss_median" in row:
            train["loss"] += f" (median {row['train/loss_median']:.4f})"
        marks = {name: " (best)" if row.get(f"best/{name}") else "" for name in results}
        val = [
            f"{name} {each.metrics[self._monitor]:.4f}{marks[name]}"
            for name, each in results.items()
        ]
        now = time.monotonic()
        speed = describe_speed(self._num_samples, self._stepped - self._epoch_started)
        parts = [
            f"epoch {row['epoch']:.4g}/{self._epochs}",
            f"lr {row['lr']:.3g}",
            *[f"train {name} {value}" for name, value in train.items()],
            *([f"val {self._monitor}:", *val] if val else []),
            f"{now - self._epoch_started:.1f} s",
            speed,
        ]
        _log.info("%s", "  ".join(parts))
        self._num_samples, self._epoch_started, self._logged = 0, now, now

    def close(self) -> None:
        """Remove the bar."""
        self._progress.stop()


def log_metrics(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Log the metrics on each split as a table, with one row per model or, if wide, per metric."""
    for split, models in results.items():
        rows = models = _without_copies_of_loss(models)
        if len(next(iter(models.values()), {})) > _MAX_COLUMNS:
            names = next(iter(models.values()))
            rows = {name: {model: models[model][name] for model in models} for name in names}
        columns = list(dict.fromkeys(name for values in rows.values() for name in values))
        heads = map(printable, columns)
        table = Table("", *heads, title=printable(split), title_justify="left")
        for label, values in rows.items():
            cells = [values.get(column, math.nan) for column in columns]
            table.add_row(printable(label), *map(_cell, cells))
        _log.info("%s", table_text(table, width=100))


def _cell(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _without_copies_of_loss(
    models: Mapping[str, Mapping[str, float]],
) -> Mapping[str, Mapping[str, float]]:
    """Return metrics without a single part of the loss, which is the loss."""
    names = next(iter(models.values()), {})
    copies = {
        name
        for name in names
        if name != "loss" and all(each.get(name) == each.get("loss") for each in models.values())
    }
    return {
        model: {name: value for name, value in each.items() if name not in copies}
        for model, each in models.items()
    }
