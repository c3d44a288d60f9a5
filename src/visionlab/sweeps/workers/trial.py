"""The job of one trial of a study: a training run that reports after each epoch.

The job itself records in the study that it is complete or pruned, so nothing must be sent back to
the process that launched it. A trial that is still running when its job has ended counts as failed.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from optuna.trial import Trial, TrialState

from visionlab.config.errors import explain
from visionlab.config.instantiate import instantiate_part
from visionlab.config.run_config import Invocation
from visionlab.config.schemas import TUNE_ONLY
from visionlab.core.interrupt import Interrupted, Pruned
from visionlab.engine.evaluation import Result
from visionlab.engine.observers import Observer
from visionlab.files.run_folder import read_rows
from visionlab.runs.train import train
from visionlab.sweeps.tuning.plan import check_trial
from visionlab.sweeps.tuning.study import Study


class UnmeasuredError(ValueError):
    """A run ended without a finite objective."""


class Objective(Observer):
    """Observer that reports the objective after each epoch and keeps the best value.

    Args:
        kind: `raw` for the model in training, `averaged` for the best of its averages.
        monitor: the validation metric.
        mode: max or min.
        epochs: epochs of the run; there is no pruning after the last one.
        trial: the trial to report to, or None.
    """

    def __init__(
        self, *, kind: str, monitor: str, mode: str, epochs: int, trial: Trial | None
    ) -> None:
        self._kind, self._monitor, self._epochs = kind, monitor, epochs
        self._pick = max if mode == "max" else min
        self._trial = trial
        self._latest: float | None = None
        self._best: float | None = None

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Result]) -> None:
        """Report the metric of a complete epoch.

        Raises:
            Pruned: the pruner stops the trial.
        """
        values = [
            result.metrics[self._monitor]
            for name, result in results.items()
            if (name == "model") == (self._kind == "raw")
        ]
        if not values or row["epoch"] != int(row["epoch"]):
            return
        valid = [value for value in values if not math.isnan(value)]
        self._latest = self._pick(valid, default=math.nan)
        if not math.isfinite(self._latest):
            return
        self._best = self._pick(self._latest, self._latest if self._best is None else self._best)
        self._report(int(row["epoch"]), self._latest)

    def restore(self, rows: Sequence[Mapping[str, float | None]]) -> None:
        """Restore the best value of a resumed job from its metrics rows."""
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
        """Return the best value of all epochs.

        Raises:
            UnmeasuredError: no epoch had a finite value.
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
        with warnings.catch_warnings():  # a requeued job reports some epochs again
            warnings.filterwarnings("ignore", message=".* is already reported")
            self._trial.report(value, epoch)
        if epoch < self._epochs and self._trial.should_prune():
            raise Pruned(f"pruned after epoch {epoch}")


def run_trial(config: Mapping[str, Any], invocation: Invocation) -> float | None:
    """Train as a trial of a study, record it there, and return the objective, None if pruned.

    Under a sweeper without trials, only train and return the objective.

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
    return run_and_record(study, trial, lambda: _run(config, invocation, trial))


def run_and_record(study: Study, trial: Trial, run: Callable[[], float]) -> float | None:
    """Run a trial, record its outcome in the study, and return the objective, None if pruned.

    A trial with non-finite losses counts as pruned, so that the sampler avoids its region.
    """
    try:
        value = run()
    except Pruned:
        study.finish(trial.number, TrialState.PRUNED)
        return None
    except FloatingPointError as error:
        study.finish(trial.number, TrialState.PRUNED, reason=explain(error))
        raise
    except Interrupted:
        raise
    except Exception as error:
        unmeasured = isinstance(error, UnmeasuredError)
        study.annotate(trial.number, reason=explain(error), unmeasured=unmeasured)
        raise
    study.finish(trial.number, TrialState.COMPLETE, value=value)
    return value


def _run(config: Mapping[str, Any], invocation: Invocation, trial: Trial | None) -> float:
    objective = Objective(
        kind=config["objective"],
        monitor=config["task"]["monitor"],
        mode=config["task"]["mode"],
        epochs=config["hparams"]["epochs"],
        trial=trial,
    )
    # drop the settings of tune.py, so that the run folder matches one of train.py
    settings = {key: value for key, value in config.items() if key not in TUNE_ONLY}
    # a requeued or retried job resumes
    objective.restore(read_rows(invocation.folder / "metrics.jsonl"))
    train(settings, invocation, observers=[objective], may_resume=True)
    return objective.best()
