"""Hydra's jobs as processes on this machine."""

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
    slots: PoolSettings,
    context: HydraContext,
    function: TaskFunction,
    config: DictConfig,
) -> list[JobReturn]:
    """Run jobs, each in a process, and return how they ended.

    Args:
        job_overrides: of each job.
        first_number: the number of the first job.
        slots: how many run at once, and on what.
        context: of Hydra.
        function: what a job does.
        config: of the multirun.

    Raises:
        Interrupted: a signal came; the jobs have saved their state.
    """
    start_forkserver()
    works, jobs = [], []
    for number, overrides in enumerate(job_overrides, start=first_number):
        job = context.config_loader.load_sweep_config(config, list(overrides))
        with open_dict(job):
            job.hydra.job.id = job.hydra.job.num = number
        folder = Path(str(job.hydra.sweep.dir), str(job.hydra.sweep.subdir))
        # Hydra's objects hold functions of functions, which pickle itself cannot
        packed = cloudpickle.dumps((Singleton.get_state(), context, function, job))
        run = partial(_run, packed)
        works.append(WorkItem(name=folder.name, function=run, log=folder / "run.log"))
        jobs.append(job)
    fail_fast = bool(OmegaConf.select(config, "sweep.fail_fast"))
    ended = run_in_processes(works, slots, fail_fast=fail_fast)
    return [_as_return(each, job) for each, job in zip(ended, jobs, strict=True)]


def _run(packed: bytes) -> Any:
    """Run a job; in its process."""
    setup_globals()
    register()
    state, context, function, job = pickle.loads(packed)
    Singleton.set_state(state)
    return run_job(
        hydra_context=context,
        task_function=function,
        config=job,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    ).return_value  # which raises what the job raised


def _as_return(ended: Outcome, job: DictConfig) -> JobReturn:
    found = JobReturn()
    found.overrides = OmegaConf.to_container(job.hydra.overrides.task)  # type: ignore[assignment]
    found.working_dir = str(Path.cwd())
    found.status = JobStatus.FAILED if ended.reason else JobStatus.COMPLETED
    found.return_value = RuntimeError(ended.reason) if ended.reason else ended.value
    return found
