"""One trial of a study, as its job sees it: a training run that reports after each epoch.

The job itself writes into the study that it is complete or pruned, so nothing has to cross the
border to the process that launched it. A trial still under way when its job is over has failed.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from optuna.trial import Trial, TrialState
from torch import Tensor

from visionlab.config.errors import explain
from visionlab.config.instantiate import instantiate_part
from visionlab.config.run_config import Invocation
from visionlab.config.schemas import TUNE_ONLY
from visionlab.core.interrupt import Interrupted, Pruned
from visionlab.engine.evaluation import Result
from visionlab.engine.state import TrainState
from visionlab.files.run_folder import read_rows
from visionlab.runs.train import train
from visionlab.sweeps.tuning.plan import check_trial
from visionlab.sweeps.tuning.study import Study


class UnmeasuredError(ValueError):
    """A run came to its end without a finite objective."""


class Objective:
    """The number that is tuned: seen after each epoch, reported, and the best of it kept.

    Args:
        kind: raw, of the model in training, or averaged, of the best of its averages.
        monitor: the number on validation.
        mode: max or min.
        epochs: of the run; after the last one nothing is left to prune.
        trial: that it is reported to, or None.
    """

    def __init__(
        self, *, kind: str, monitor: str, mode: str, epochs: int, trial: Trial | None
    ) -> None:
        self._kind, self._monitor, self._epochs = kind, monitor, epochs
        self._pick = max if mode == "max" else min
        self._trial = trial
        self._latest: float | None = None
        self._best: float | None = None

    def on_step(self, state: TrainState, *, lr: float, loss: Tensor, num_samples: int) -> None:
        """Do nothing."""

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Report the number of a whole epoch.

        Raises:
            Pruned: the trial is not worth going on.
        """
        values = [
            result.metrics[self._monitor]
            for name, result in results.items()
            if (name == "model") == (self._kind == "raw")
        ]
        if not values or row["epoch"] != int(row["epoch"]):
            return
        numbers = [value for value in values if not math.isnan(value)]
        self._latest = self._pick(numbers, default=math.nan)
        if not math.isfinite(self._latest):
            return
        self._best = self._pick(self._latest, self._latest if self._best is None else self._best)
        self._report(int(row["epoch"]), self._latest)

    def close(self) -> None:
        """Do nothing."""

    def restore(self, rows: Sequence[Mapping[str, float | None]]) -> None:
        """Take over what a job that goes on had seen before, from its metrics rows."""
        for row in rows:
            values = [
                value
                for key, value in row.items()
                if key.startswith("val/")
                and key.endswith(f"/{self._monitor}")
                and (key == f"val/model/{self._monitor}") == (self._kind == "raw")
            ]
            known = [value for value in [*values, self._best] if value is not None]
            self._best = self._pick(known, default=None)

    def best(self) -> float:
        """Return the best number of all epochs.

        Raises:
            UnmeasuredError: there is none.
        """
        if self._best is None:
            raise UnmeasuredError(
                f"objective must be a finite {self._monitor} on validation in some epoch, "
                f"got {self._latest}"
            )
        return self._best

    def _report(self, epoch: int, value: float) -> None:
        if self._trial is None:
            return
        with warnings.catch_warnings():  # a job that was requeued tells some epochs again
            warnings.filterwarnings("ignore", message=".* is already reported")
            self._trial.report(value, epoch)
        if epoch < self._epochs and self._trial.should_prune():
            raise Pruned(f"pruned after epoch {epoch}")


def run_trial(config: Mapping[str, Any], invocation: Invocation) -> float | None:
    """Train as a trial of a study, and record the outcome in the study.

    Under a sweeper that knows no trials it is a run that returns its objective.

    Args:
        config: of `tune.py`, plain containers.
        invocation: how Hydra was called.

    Returns:
        The objective, or None if the trial was pruned.

    Raises:
        ValueError: the run has no finite objective.
    """
    check_trial(config)
    if config["trial"] is None:
        return _run(config, invocation, None)
    sweeper = HydraConfig.get().sweeper
    study = Study(sweeper.storage, sweeper.study_name)
    pruner = instantiate_part(config["pruner"], key="pruner")
    trial = study.trial(config["trial"], pruner=pruner)
    return ended(study, trial, lambda: _run(config, invocation, trial))


def ended(study: Study, trial: Trial, run: Callable[[], float]) -> float | None:
    """Run a trial to its end, and write into the study what came of it.

    Losses that are not finite count as pruned, so that the sampler keeps away from where they were.

    Args:
        study: of the trial.
        trial: under way.
        run: returns the objective.

    Returns:
        The objective, or None if the trial was pruned.
    """
    try:
        value = run()
    except Pruned:
        study.end(trial.number, TrialState.PRUNED)
        return None
    except FloatingPointError as error:
        study.end(trial.number, TrialState.PRUNED, reason=explain(error))
        raise
    except Interrupted:
        raise
    except Exception as error:
        unmeasured = isinstance(error, UnmeasuredError)
        study.note(trial.number, reason=explain(error), unmeasured=unmeasured)
        raise
    study.end(trial.number, TrialState.COMPLETE, value=value)
    return value


def _run(config: Mapping[str, Any], invocation: Invocation, trial: Trial | None) -> float:
    objective = Objective(
        kind=config["objective"],
        monitor=config["task"]["monitor"],
        mode=config["task"]["mode"],
        epochs=config["hparams"]["epochs"],
        trial=trial,
    )
    # without the settings of tune.py, so that the run's folder is like that of train.py
    settings = {key: value for key, value in config.items() if key not in TUNE_ONLY}
    # a job that was queued again, or is tried again, resumes
    objective.restore(read_rows(invocation.folder / "metrics.jsonl"))
    train(settings, invocation, observers=[objective], may_resume=True)
    return objective.best()
