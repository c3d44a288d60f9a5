"""Tuning: take trials from a study and launch them until enough are finished.

Several processes may work on one study. If one dies, another requeues its trials. Hydra's launcher
runs the jobs.
"""

import logging
import shlex
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

from hydra.core.utils import JobReturn, JobStatus
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from visionlab.config.errors import explain
from visionlab.config.instantiate import instantiate_part
from visionlab.config.terminal import shell_command
from visionlab.core.interrupt import Interrupted
from visionlab.sweeps.tuning import report, trial_queue
from visionlab.sweeps.tuning.controllers import HEARTBEAT_SECONDS, heartbeat, new_controller_name
from visionlab.sweeps.tuning.plan import Plan, job_overrides
from visionlab.sweeps.tuning.storage_url import mask_password
from visionlab.sweeps.tuning.study import Study

Launch = Callable[[Sequence[Sequence[str]], int], Sequence[JobReturn]]
POLL_SECONDS = 2.0  # while other processes run the last trials
_log = logging.getLogger(__name__)


def tune(plan: Plan, launch: Launch) -> float | None:
    """Run trials until `n_trials` are complete or pruned; return the best objective.

    `launch` runs jobs, given their overrides and the number of the first.

    Raises:
        ValueError: trials have no objective, too many have failed, or none is complete.
    """
    instantiate_part(plan.pruner, key="pruner")  # a check: only jobs use the pruner
    plan.folder.mkdir(parents=True, exist_ok=True)
    study = Study(plan.url, plan.study_name)
    study.create(direction=plan.direction, objective=plan.objective, invariants=plan.invariants)
    report.write_space(plan.space, plan.folder)
    _log.info("watch it with: optuna-dashboard %s", shlex.quote(mask_password(plan.url)))
    controller, num_failed = new_controller_name(), 0
    beat = partial(trial_queue.record_heartbeat, study, controller)
    with heartbeat(beat, every_seconds=HEARTBEAT_SECONDS):
        while trial_queue.num_finished(study) < plan.n_trials:
            for number in trial_queue.requeue_lost(study):
                _log.info("trial %d: its controller died; requeued", number)
            trials = _ask(plan, study, controller)
            if not trials:  # other processes run the last trials, which may still fail
                time.sleep(POLL_SECONDS)
                continue
            finished = _run(plan, study, trials, launch)
            report.write_files(study, plan.folder)
            num_failed += sum(trial.state == TrialState.FAIL for trial in finished)
            _check_failures(plan, study, finished, num_failed)
    report.write_files(study, plan.folder)
    return _conclude(plan, study)


def _ask(plan: Plan, study: Study, controller: str) -> list[Trial]:
    """Take up to `n_jobs` trials, fewer if not as many are left."""
    sampler, most = partial(_sampler, plan), plan.n_trials
    ask = partial(trial_queue.ask, study, sampler, n_trials=most, controller=controller)
    return list(islice(iter(ask, None), plan.n_jobs))


def _sampler(plan: Plan, number: int) -> BaseSampler:
    """Return a sampler seeded by the trial number, independent of process and time."""
    seed = None if plan.seed is None else plan.seed + number
    sampler: BaseSampler = instantiate_part(plan.sampler, key="hydra.sweeper.sampler", seed=seed)
    return sampler


def _run(plan: Plan, study: Study, trials: Sequence[Trial], launch: Launch) -> list[FrozenTrial]:
    numbers = [trial.number for trial in trials]
    reason = "its job ended without a result, see run.log"
    reasons = [reason] * len(trials)
    try:
        batch = [_draw(plan, trial) for trial in trials]
        returns = launch(batch, numbers[0])
        reasons = [
            (explain(each._return_value) if each.status == JobStatus.FAILED else "") or reason
            for each in returns
        ]
    except (Interrupted, KeyboardInterrupt, SystemExit):  # Ctrl-C or a signal
        for number in numbers:
            trial_queue.requeue(study, number, "interrupted")
        report.write_files(study, plan.folder)
        raise
    except Exception as error:  # a launcher that lost its workers must not end the study
        reasons = [f"launching failed: {type(error).__name__}: {error}"] * len(trials)
    for number, reason in zip(numbers, reasons, strict=True):
        study.finish(number, TrialState.FAIL, reason=reason)
    finished = [study.trials()[number] for number in numbers]
    for line in report.progress(study, numbers, objective=plan.objective, n_trials=plan.n_trials):
        _log.info("%s", line)
    return finished


def _draw(plan: Plan, trial: Trial) -> list[str]:
    """Draw the values of a trial; return the overrides of its job."""
    drawn = [f"{key}={axis.suggest(trial, key)}" for key, axis in plan.space.items()]
    overrides, folder = job_overrides(plan, trial.number, drawn)
    trial.set_user_attr("folder", folder)
    trial.set_user_attr("overrides", [*plan.options, *plan.fixed, *drawn])
    return overrides


def _check_failures(
    plan: Plan, study: Study, finished: Sequence[FrozenTrial], num_failed: int
) -> None:
    """Stop a tuning that cannot succeed.

    Raises:
        ValueError: trials have no objective, or too many have failed.
    """
    failed = [trial for trial in finished if trial.state == TrialState.FAIL]
    unmeasured = [trial for trial in failed if trial.user_attrs.get("unmeasured")]
    if unmeasured and not trial_queue.num_finished(study):
        raise ValueError(unmeasured[0].user_attrs["reason"])
    if num_failed > plan.max_failures:
        raise ValueError(
            f"max_failures must be >= the trials that fail, got {plan.max_failures}; "
            f"the last: {report.describe(failed[-1], objective=plan.objective)}"
        )


def _conclude(plan: Plan, study: Study) -> float | None:
    """Log and return the best objective.

    Raises:
        ValueError: no trial is complete.
    """
    best = report.best_trial(study)
    if best is None:
        raise ValueError(f"a trial must be complete, got {report.summary(study)}")
    line = report.describe(best, objective=plan.objective)
    _log.info("%s; best is trial %d: %s", report.summary(study), best.number, line)
    command = shell_command("train", *plan.options, *report.overrides(best))
    _log.info("train with it: %s", command)
    _log.info("wrote %s", plan.folder / "trials.csv")
    return best.value
