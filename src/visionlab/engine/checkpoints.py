"""The checkpoints of a run: `last.pt` to go on from, and one file for each model worth keeping."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from visionlab.core.processes import rank
from visionlab.engine.state import TrainState
from visionlab.files.tensors import read_tensors, write_tensors
from visionlab.optim.averaging import Average

LAST = "last.pt"
PREVIOUS = "previous.pt"  # the `last.pt` before, should the newest be damaged
_log = logging.getLogger(__name__)


def best_name(name: str) -> str:
    """Return the file name of a model's best weights: `best`, or `<average>_best`."""
    return "best" if name == "model" else f"{name}_best"


class CheckpointWriter(Protocol):
    """What the loop asks to be saved; `Checkpoints` does it for one run."""

    def due(self) -> bool:
        """Return whether `last.pt` is older than it may be."""

    def save_last(
        self,
        state: TrainState,
        model: nn.Module,
        optimizer: Optimizer,
        averages: Sequence[Average],
    ) -> None:
        """Write what is needed to go on from here."""

    def save_model(self, name: str, model: nn.Module, *, step: int) -> None:
        """Write a model's weights."""


class Checkpoints:
    """Writes the checkpoints of one run; of several processes that share it, the first does.

    Args:
        folder: `checkpoints/` of the run.
        about: plain containers that go into every file (configuration, class names).
        every_minutes: how old `last.pt` may grow within an epoch, or None for any age.
    """

    def __init__(
        self, folder: Path, *, about: Mapping[str, Any], every_minutes: float | None
    ) -> None:
        if every_minutes is not None and every_minutes < 0:
            raise ValueError(f"checkpoint.every_minutes must be >= 0 or null, got {every_minutes}")
        self._folder = folder
        self._about = about
        self._every_seconds = None if every_minutes is None else 60 * every_minutes
        self._saved_at = time.monotonic()

    def due(self) -> bool:
        """Return whether `last.pt` is older than it may be."""
        age = time.monotonic() - self._saved_at
        return self._every_seconds is not None and age >= self._every_seconds

    def save_last(
        self,
        state: TrainState,
        model: nn.Module,
        optimizer: Optimizer,
        averages: Sequence[Average],
    ) -> None:
        """Write `last.pt`; the one before, which must be good (see `resuming`), is `previous.pt`.

        Raises:
            FloatingPointError: a loss of this epoch is not finite; nothing was written.
            OSError: the file cannot be written; the old one is untouched.
        """
        if rank() > 0:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        content = {
            **self._about,
            "state": state.state_dict(),
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "averages": {average.name: average.state_dict() for average in averages},
        }
        write_tensors(self._folder / LAST, content, keep=self._folder / PREVIOUS)
        self._saved_at = time.monotonic()

    def save_model(self, name: str, model: nn.Module, *, step: int) -> None:
        """Write `<name>.pt` with a model's weights after optimizer step number `step`."""
        if rank() > 0:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        content = {**self._about, "name": name, "step": step, "model": model.state_dict()}
        write_tensors(self._folder / f"{name}.pt", content)


def good_checkpoints(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the checkpoints to go on from, by file name, the newest first; log damaged ones.

    Raises:
        ValueError: there are checkpoints, and all are damaged.
    """
    errors, num_good = [], 0
    for name in (LAST, PREVIOUS):
        if not (folder / name).exists():
            continue
        try:
            content = read_tensors(folder / name, sealed=True)
        except ValueError as error:
            _log.warning("%s", error)
            errors.append(str(error))
        else:
            num_good += 1
            yield name, content
    if errors and not num_good:
        raise ValueError("; ".join(errors))


def load_last(folder: Path) -> dict[str, Any] | None:
    """Return the newest good checkpoint to go on from, or None if none was ever written.

    Raises:
        ValueError: there are checkpoints, and all are damaged.
    """
    return next((content for _, content in good_checkpoints(folder)), None)


def restore(
    content: Mapping[str, Any],
    *,
    model: nn.Module,
    optimizer: Optimizer,
    averages: Mapping[str, Average],
) -> TrainState:
    """Put a checkpoint of `Checkpoints.save_last` back into the parts of the run it came from."""
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    for name, average in averages.items():
        average.load_state_dict(content["averages"][name])
    return TrainState.from_state_dict(content["state"])


def saved_models(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Return the weights of every model a run has saved, by name.

    `model` and the averages are the final ones (the newest, while the run is not finished), and
    `<name>_best`, for the model itself `best`, those with the best monitored number.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: all checkpoints are damaged, or one that has no older twin.
    """
    last = load_last(folder)
    if last is None:
        raise FileNotFoundError(f"{folder / LAST} does not exist")
    models = {"model": last["model"]}
    models |= {name: average["module"] for name, average in last["averages"].items()}
    for path in sorted(folder.glob("*.pt")):
        if path.name not in (LAST, PREVIOUS) and path.stem not in models:
            models[path.stem] = read_tensors(path, sealed=True)["model"]
    return models
