"""Start of a run from the whole state that another run left, with its own rate and length."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from visionlab.engine.state import TrainState
from visionlab.optim.averaging import Average


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where training starts: at initial weights, or where another run of the same model ended.

    The last weights and averages of that run are taken. Rate, schedule and every other setting are
    this run's own; a schedule is that of the new length, from the epoch on at which it starts.

    Attributes:
        run: the folder of the other run, or None.
        with_optimizer: whether the momentum of its optimizer comes along.
        with_epochs: whether its epochs count, so that `hparams.epochs` is the total of both;
            otherwise training begins with epoch 1.
    """

    run: str | None
    with_optimizer: bool
    with_epochs: bool

    def __call__(
        self,
        content: Mapping[str, Any],
        *,
        model: nn.Module,
        optimizer: Optimizer,
        averages: Mapping[str, Average],
        steps_per_epoch: int,
        epochs: int,
    ) -> TrainState:
        """Restore what comes along from the content of `last.pt`; return the state to train from.

        Averages that the other run has under the same name go on; others begin at its weights.

        Raises:
            ValueError: that run ended within an epoch or is as long as this one, or its optimizer
                has other parameters or another state.
        """
        before = TrainState.from_state_dict(content["state"])
        self._check(before, epochs)
        model.load_state_dict(content["model"])
        for name, average in averages.items():
            if name in content["averages"]:
                average.load_state_dict(content["averages"][name])
            else:
                average.restart()
        if self.with_optimizer:
            _restore_momentum(optimizer, content["optimizer"])
        if not self.with_epochs:
            return TrainState()
        step = before.epoch * steps_per_epoch  # of batches of this run's size
        return TrainState(step=step, row_step=step, epoch=before.epoch, plateau=before.plateau)

    def _check(self, before: TrainState, epochs: int) -> None:
        if self.with_epochs and before.epoch_step:
            raise ValueError(
                f"start.with_epochs must be false after a run that ended within epoch "
                f"{before.epoch + 1}, got true"
            )
        if self.with_epochs and epochs <= before.epoch:
            raise ValueError(
                f"hparams.epochs must be > the {before.epoch} of start.run, which count too, "
                f"got {epochs}"
            )


def _restore_momentum(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Restore the state of each parameter, and none of the settings: they are the new run's.

    Raises:
        ValueError: the parameters are grouped in another way.
    """
    groups = optimizer.state_dict()["param_groups"]
    sizes, theirs = ([len(each["params"]) for each in g] for g in (groups, saved["param_groups"]))
    if sizes != theirs:
        raise ValueError(
            "start.with_optimizer must be false for parameters in other groups than those of "
            f"start.run ({theirs} of them), got true for {sizes}"
        )
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
