"""Hydra jobs as processes on this machine."""

import pickle
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from visionlab.config.command_line import register
from visionlab.sweeps.launcher.forkserver import start_forkserver
from visionlab.sweeps.launcher.processes import Outcome, PoolSettings, WorkItem, run_in_processes


def launch(
    job_overrides: Sequence[Sequence[str]],
    *,
    first_number: int,
    pool: PoolSettings,
    context: HydraContext,
    function: TaskFunction,
    config: DictConfig,
) -> list[JobReturn]:
    """Run jobs, given the overrides of each, in separate processes and return their results.

    `config` is the configuration of the multirun.

    Raises:
        Interrupted: a signal came; the jobs have saved their state.
    """
    start_forkserver()
    items, jobs = [], []
    for number, overrides in enumerate(job_overrides, start=first_number):
        job = context.config_loader.load_sweep_config(config, list(overrides))
        with open_dict(job):
            job.hydra.job.id = job.hydra.job.num = number
        folder = Path(str(job.hydra.sweep.dir), str(job.hydra.sweep.subdir))
        # Hydra's objects hold nested functions, which pickle refuses
        packed = cloudpickle.dumps((Singleton.get_state(), context, function, job))
        run = partial(_run, packed)
        items.append(WorkItem(name=folder.name, function=run, log=folder / "run.log"))
        jobs.append(job)
    fail_fast = bool(OmegaConf.select(config, "sweep.fail_fast"))
    outcomes = run_in_processes(items, pool, fail_fast=fail_fast)
    return [_to_job_return(each, job) for each, job in zip(outcomes, jobs, strict=True)]


def _run(packed: bytes) -> Any:
    setup_globals()
    register()
    state, context, function, job = pickle.loads(packed)
    Singleton.set_state(state)
    result = run_job(
        hydra_context=context,
        task_function=function,
        config=job,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    if result.status == JobStatus.FAILED:
        raise result._return_value  # the property would also print the overrides
    return result.return_value


def _to_job_return(outcome: Outcome, job: DictConfig) -> JobReturn:
    result = JobReturn()
    result.overrides = OmegaConf.to_container(job.hydra.overrides.task)  # type: ignore[assignment]
    result.working_dir = str(Path.cwd())
    result.status = JobStatus.FAILED if outcome.reason else JobStatus.COMPLETED
    result.return_value = RuntimeError(outcome.reason) if outcome.reason else outcome.value
    return result
