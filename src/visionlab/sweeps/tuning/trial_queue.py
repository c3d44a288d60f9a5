"""Queue of trials: never more than n_trials, and none lost with its controller."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from visionlab.sweeps.tuning.controllers import DEAD_AFTER_SECONDS, describe_process, is_alive
from visionlab.sweeps.tuning.study import FINISHED, Study

_REQUEUED = "; requeued"  # at the end of a reason
_FINISHED_OR_RUNNING = (*FINISHED, TrialState.RUNNING)


def num_finished(study: Study) -> int:
    """Return the number of finished trials: complete or pruned."""
    return sum(trial.state in FINISHED for trial in study.trials())


def record_heartbeat(study: Study, controller: str) -> None:
    """Record in the study that a controller is alive."""
    study.load().set_user_attr(controller, describe_process(time.time()))


def ask(
    study: Study, sampler: Callable[[int], BaseSampler], *, n_trials: int, controller: str
) -> Trial | None:
    """Take the next trial for a controller, requeued ones first; None if all are taken.

    `sampler` makes a sampler that depends on the given number: that of the trial if none was
    interrupted, so that an interrupted study continues with the points of an undisturbed one.
    """
    with study.lock():
        trials = study.trials()
        if _num_finished_or_running(trials) >= n_trials:
            return None
        loaded = study.load(sampler=sampler(_num_drawn(trials)))
        trial = loaded.ask()
        trial.set_user_attr("controller", controller)
        # another process may have taken a trial meanwhile
        point = _num_drawn(study.trials()[: trial.number])
        loaded.sampler = sampler(point)
        trial.set_user_attr("point", point)
        # without a lock (server), several may take the last trial: the first one keeps it
        if _num_finished_or_running(study.trials()[: trial.number]) >= n_trials:
            study.finish(trial.number, TrialState.FAIL, reason="exceeds n_trials")
            return None
    return trial


def requeue(study: Study, number: int, reason: str) -> bool:
    """Fail an interrupted trial and queue its parameters; return whether it was running.

    The parameters run again as a new trial, from the start and in a new folder.
    """
    params = study.trials()[number].params
    if not study.finish(number, TrialState.FAIL, reason=f"{reason}{_REQUEUED}"):
        return False
    if params:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.load().enqueue_trial(params)
    return True


def requeue_lost(study: Study) -> list[int]:
    """Requeue running trials with a dead controller; return their numbers."""
    now = time.time()
    with study.lock():
        controllers = study.load().user_attrs
        return [
            trial.number
            for trial in study.trials()
            if trial.state == TrialState.RUNNING
            and not _has_live_controller(trial, controllers, now)
            and requeue(study, trial.number, "its controller died")
        ]


def is_requeued(trial: FrozenTrial) -> bool:
    """Return whether a trial was interrupted and its parameters run again as another one."""
    return str(trial.user_attrs.get("reason", "")).endswith(_REQUEUED)


def point_of(trial: FrozenTrial) -> int:
    """Return the number that a trial would have if none had been interrupted."""
    return int(trial.user_attrs.get("point", trial.number))  # Hydra's own sweeper sets none


def _num_drawn(trials: Sequence[FrozenTrial]) -> int:
    """Return how many points were drawn; that of a requeued trial is drawn once."""
    return sum(not is_requeued(trial) for trial in trials)


def _num_finished_or_running(trials: Sequence[FrozenTrial]) -> int:
    return sum(trial.state in _FINISHED_OR_RUNNING for trial in trials)


def _has_live_controller(trial: FrozenTrial, controllers: Mapping[str, Any], now: float) -> bool:
    controller = controllers.get(trial.user_attrs.get("controller", ""))
    if controller is not None:
        return is_alive(controller, now)
    assert trial.datetime_start is not None
    return now - trial.datetime_start.timestamp() < DEAD_AFTER_SECONDS  # may be about to register
