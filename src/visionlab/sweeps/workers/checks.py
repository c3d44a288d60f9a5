"""Checks of the jobs of a multirun or tuning before the first of them starts."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from visionlab.config.errors import explain, is_users
from visionlab.config.run_config import resolve_config, training_key
from visionlab.engine.checkpoints import LAST
from visionlab.runs.build import build_data, build_experiment
from visionlab.runs.experiment import Experiment, training_invariant_keys
from visionlab.runs.initial_weights import without_initial_weights
from visionlab.runs.training import Components, build_components, prepare_machine
from visionlab.sweeps.multirun.jobs import Job
from visionlab.task import Data


class _Checked(NamedTuple):
    """A job with valid settings, and its experiment."""

    job: Job
    experiment: Experiment


def plan_trainings(
    jobs: Sequence[Job], *, sweep: Path, share: bool, reads_data: bool
) -> list[list[Job]]:
    """Check jobs, and group those that can share a training.

    Call this in a separate process: it leaves data and models in memory and GPUs in use.

    Args:
        jobs: the jobs to train.
        sweep: folder of the multirun; a job that resumes there needs no initial weights.
        share: whether jobs that differ only in training-invariant settings share a training.
        reads_data: whether to check also against the data and this machine.

    Raises:
        ValueError: a setting of a job is out of range or conflicts with others.
    """
    groups: dict[str, list[_Checked]] = {}
    for job in jobs:
        checked = _check(job)
        invariant = training_invariant_keys(checked.experiment) if share else []
        groups.setdefault(training_key(job.config, invariant), []).append(checked)
    if reads_data:
        logging.disable()
        _test_builds(list(groups.values()), sweep)
    return [[checked.job for checked in group] for group in groups.values()]


def check_trials(configs: Sequence[Mapping[str, Any]], *, reads_data: bool) -> None:
    """Check test jobs of a tuning, in a separate process as `plan_trainings`.

    Args:
        configs: of the test jobs, as composed.
        reads_data: whether to check also against the data and this machine.

    Raises:
        ValueError: a setting of a job is out of range or conflicts with others, or its data have
            no validation split.
    """
    experiments = [build_experiment(resolve_config(config)) for config in configs]
    if reads_data:
        logging.disable()
        data: dict[str, Data] = {}
        for experiment in experiments:
            components = _build([experiment], data)
            if "val" not in components.task.splits:
                raise ValueError("dataset must have a val split to tune on, got none")


def _check(job: Job) -> _Checked:
    try:
        config = resolve_config(job.config)
        return _Checked(
            job, build_experiment(without_initial_weights(config) if job.needs else config)
        )
    except Exception as error:
        raise _with_job(error, job) from error


def _with_job(error: Exception, job: Job) -> Exception:
    """Return a user error with the name of the job added; leave other errors unchanged."""
    return ValueError(f"{explain(error)} (job {job.name})") if is_users(error) else error


def _test_builds(groups: Sequence[Sequence[_Checked]], sweep: Path) -> None:
    """Build the parts of each training, once for trainings that differ only in their seeds."""
    tried: set[tuple[str, bool]] = set()
    data: dict[str, Data] = {}  # the last data set read
    for group in groups:
        key = training_key(group[0].job.config, ["global_seed"]), _resumes(group, sweep)
        if key in tried:
            continue
        tried.add(key)
        try:
            _build(_starting(group, sweep), data)
        except Exception:
            _raise_for_first_invalid(group, sweep, data)
            raise


def _raise_for_first_invalid(group: Sequence[_Checked], sweep: Path, data: dict[str, Data]) -> None:
    """Raise the error of the first job in a group that cannot be built alone."""
    for checked in group:
        try:
            _build(_starting([checked], sweep), data)
        except Exception as error:
            raise _with_job(error, checked.job) from error


def _starting(group: Sequence[_Checked], sweep: Path) -> list[Experiment]:
    """Return the experiments of a group, without initial weights if it resumes."""
    experiments = [checked.experiment for checked in group]
    if _resumes(group, sweep):
        return [build_experiment(without_initial_weights(e.config)) for e in experiments]
    return experiments


def _build(experiments: Sequence[Experiment], data: dict[str, Data]) -> Components:
    """Build the parts of a training; `data` holds the last data set read, and is updated."""
    first = experiments[0]
    device, _ = prepare_machine(first.machine)
    key = json.dumps([first.config[name] for name in ("dataset", "augment")])
    if key not in data:
        data.clear()
        data[key] = build_data(first, device)
    return build_components(experiments, data[key], device)


def _resumes(group: Sequence[_Checked], sweep: Path) -> bool:
    folders = [sweep / checked.job.name / "checkpoints" for checked in group]
    return all((folder / LAST).exists() for folder in folders)
