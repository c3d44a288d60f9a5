"""Which trial is next: no more than asked for, and none lost with its controller."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from visionlab.sweeps.tuning.controllers import DEAD_AFTER_SECONDS, describe_process, is_alive
from visionlab.sweeps.tuning.study import Study

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_TAKEN = (*FINISHED, TrialState.RUNNING)


def num_finished(study: Study) -> int:
    """Return how many trials count: the complete and the pruned ones."""
    return sum(trial.state in FINISHED for trial in study.trials())


def beat(study: Study, controller: str) -> None:
    """Write down that a controller lives."""
    study.load().set_user_attr(controller, describe_process(time.time()))


def ask(
    study: Study, sampler: Callable[[int], BaseSampler], *, n_trials: int, controller: str
) -> Trial | None:
    """Take the next trial, one that was cut short first; None if all are finished or under way.

    Args:
        study: the study.
        sampler: makes a sampler that draws other points for another number.
        n_trials: how many trials are to be finished.
        controller: who takes it.
    """
    with study.exclusive():
        trials = study.trials()
        if _num_taken(trials) >= n_trials:
            return None
        loaded = study.load(sampler=sampler(len(trials)))
        trial = loaded.ask()
        trial.set_user_attr("controller", controller)
        loaded.sampler = sampler(trial.number)  # if somebody asked meanwhile, it is not the last
        # servers have no turns: of those who took the last trial at once the first keeps it
        if _num_taken(study.trials()[: trial.number]) >= n_trials:
            study.end(trial.number, TrialState.FAIL, reason="one more than n_trials")
            return None
    return trial


def requeue(study: Study, number: int, reason: str) -> bool:
    """End a trial that was cut short and queue its parameters; return whether it was under way.

    It runs again as a new trial, in a folder of its own, from its start.
    """
    params = study.trials()[number].params
    if not study.end(number, TrialState.FAIL, reason=f"{reason}; queued again"):
        return False
    if params:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.load().enqueue_trial(params)
    return True


def requeue_lost(study: Study) -> list[int]:
    """Queue again the trials whose controller is dead, and return their numbers."""
    now = time.time()
    with study.exclusive():
        controllers = study.load().user_attrs
        return [
            trial.number
            for trial in study.trials()
            if trial.state == TrialState.RUNNING
            and not _is_cared_for(trial, controllers, now)
            and requeue(study, trial.number, "its controller died")
        ]


def _num_taken(trials: Sequence[FrozenTrial]) -> int:
    return sum(trial.state in _TAKEN for trial in trials)


def _is_cared_for(trial: FrozenTrial, controllers: Mapping[str, Any], now: float) -> bool:
    controller = controllers.get(trial.user_attrs.get("controller", ""))
    if controller is not None:
        return is_alive(controller, now)
    assert trial.datetime_start is not None
    return now - trial.datetime_start.timestamp() < DEAD_AFTER_SECONDS  # about to be written down
