"""State of a training run besides weights, optimizer and averages."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from visionlab.engine.hparams import Stop
from visionlab.optim.plateau import PlateauState

CHECK_EVERY_STEPS = 8
_COUNTERS = ("step", "epoch", "epoch_step", "seconds", "row_step")


@dataclass(kw_only=True)
class Best:
    """Best value of the monitored metric and the epoch after which it was measured."""

    value: float
    epoch: int


class RunningMeans:
    """Sample-weighted means of named scalars over an epoch, and the median loss of its steps.

    Values stay on the device for a few steps to avoid synchronising with a GPU at each. A
    non-finite value is found at the next `flush` and reported with its own step.
    """

    def __init__(self) -> None:
        self.latest: dict[str, float] = {}
        self._sums: dict[str, float] = {}
        self._losses: list[float] = []
        self._num_samples = 0
        self._pending: list[tuple[str, int, dict[str, Tensor]]] = []

    def add(self, scalars: Mapping[str, Tensor], *, where: str, num_samples: int) -> None:
        """Add the scalars of one optimizer step; `where` names it in an error."""
        self._pending.append((where, num_samples, dict(scalars)))
        if len(self._pending) >= CHECK_EVERY_STEPS:
            self.flush()

    def flush(self) -> None:
        """Read and check all pending values.

        Raises:
            FloatingPointError: a value is not finite.
        """
        if not self._pending:
            return
        names = list(self._pending[0][2])
        columns = [torch.stack([row[name] for name in names]) for *_, row in self._pending]
        rows = [dict(zip(names, values, strict=True)) for values in torch.stack(columns).tolist()]
        for (where, *_), row in zip(self._pending, rows, strict=True):
            _check_finite(row, where)
        for (_, num_samples, _), row in zip(self._pending, rows, strict=True):
            self._num_samples += num_samples
            self._losses.append(row["loss"])
            for name, value in row.items():
                self._sums[name] = self._sums.get(name, 0.0) + value * num_samples
        self._pending, self.latest = [], rows[-1]

    def means(self) -> dict[str, float]:
        """Return the means so far, and `loss_median` over the steps; nothing before the first."""
        self.flush()
        means = {name: total / self._num_samples for name, total in self._sums.items()}
        if self._losses:
            means["loss_median"] = statistics.median(self._losses)
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return plain containers, for a checkpoint."""
        self.flush()
        return {
            "sums": dict(self._sums),
            "losses": list(self._losses),
            "num_samples": self._num_samples,
        }

    @classmethod
    def from_state_dict(cls, content: Mapping[str, Any]) -> Self:
        """Restore means from the result of `state_dict`."""
        means = cls()
        means._sums = dict(content["sums"])
        means._losses = list(content.get("losses", []))  # older checkpoints have none
        means._num_samples = content["num_samples"]
        return means


@dataclass(kw_only=True)
class TrainState:
    """Progress of a run."""

    step: int = 0  # optimizer steps done
    epoch: int = 0  # epochs finished
    epoch_step: int = 0  # optimizer steps done in the current epoch
    seconds: float = 0.0  # training time over all resumes
    row_step: int = 0  # step after which the last metrics row was written
    means: RunningMeans = field(default_factory=RunningMeans)  # of scalars in the current epoch
    best: dict[str, Best] = field(default_factory=dict)  # by model name: model, ema_0.999, ...
    plateau: PlateauState = field(default_factory=PlateauState)  # its factor multiplies the rate
    stopped: str | None = None  # why training ended early

    def state_dict(self) -> dict[str, Any]:
        """Return plain containers, for a checkpoint."""
        return {
            **{name: getattr(self, name) for name in _COUNTERS},
            "means": self.means.state_dict(),
            "best": {name: asdict(best) for name, best in self.best.items()},
            "plateau": asdict(self.plateau),
        }

    @classmethod
    def from_state_dict(cls, content: Mapping[str, Any]) -> Self:
        """Restore progress from the result of `state_dict`."""
        return cls(
            **{name: content[name] for name in _COUNTERS},
            means=RunningMeans.from_state_dict(content["means"]),
            best={name: Best(**best) for name, best in content["best"].items()},
            plateau=PlateauState(**content.get("plateau", {})),  # older checkpoints have none
        )

    @property
    def epochs_without_improvement(self) -> int:
        """Epochs since the last improvement of any model."""
        return self.epoch - max((best.epoch for best in self.best.values()), default=self.epoch)

    def check_stop(self, stop: Stop) -> bool:
        """Return whether a rule ends the run here; set `stopped` to the reason."""
        self.stopped = stop.reason(
            step=self.step,
            seconds=self.seconds,
            epochs_without_improvement=self.epochs_without_improvement,
        )
        return self.stopped is not None

    def finish_step(
        self, scalars: Mapping[str, Tensor], num_samples: int, *, seconds: float
    ) -> None:
        """Count one optimizer step, with its losses and the training time so far."""
        self.step, self.epoch_step, self.seconds = self.step + 1, self.epoch_step + 1, seconds
        where = f"step {self.step} of epoch {self.epoch + 1}"
        self.means.add(scalars, where=where, num_samples=num_samples)

    def finish_epoch(self) -> None:
        """Count the current epoch as finished and reset the means."""
        self.epoch, self.epoch_step, self.means = self.epoch + 1, 0, RunningMeans()


def _check_finite(scalars: Mapping[str, float], where: str) -> None:
    if not all(math.isfinite(value) for value in scalars.values()):
        named = ", ".join(f"{name}={value:g}" for name, value in scalars.items())
        raise FloatingPointError(f"losses must be finite, got {named} at {where}")
