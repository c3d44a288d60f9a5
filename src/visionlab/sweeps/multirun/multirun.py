"""The work of `train.py --multirun`: find unfinished jobs, plan, launch and summarise them.

Jobs that train identically share one training. The launcher, whichever it is, launches trainings;
each reads its jobs from a file and records their results itself.
"""

import copy
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus, configure_log
from omegaconf import DictConfig, OmegaConf

from visionlab.config.command_line import Unfinished
from visionlab.config.errors import explain
from visionlab.config.overrides import as_typed, quoted
from visionlab.config.run_config import job_status
from visionlab.config.terminal import count, shell_command
from visionlab.core.interrupt import Interrupted
from visionlab.core.processes import num_processes
from visionlab.files.locks import locked
from visionlab.files.run_folder import count_states, read_record
from visionlab.sweeps.launcher.forkserver import call_in_process, is_local, start_forkserver
from visionlab.sweeps.launcher.lost_jobs import lost_jobs_as_failures
from visionlab.sweeps.launcher.overrides import with_launcher
from visionlab.sweeps.launcher.processes import NOT_STARTED
from visionlab.sweeps.multirun.chain_jobs import compose_chain_jobs, is_of_chains
from visionlab.sweeps.multirun.jobs import Job, compose_jobs
from visionlab.sweeps.multirun.plan_files import TrainingPlan, write_plan
from visionlab.sweeps.multirun.table import (
    JobSummary,
    log_table,
    write_jobs,
    write_table,
)

_FOLDER = ".sweep"
_log = logging.getLogger(__name__)
Launch = Callable[[Sequence[Sequence[str]]], Sequence[JobReturn]]  # from each job's overrides
Launches = Mapping[tuple[str, ...], Launch]  # by the settings of a job's launcher


def run_jobs(
    arguments: Sequence[str],
    *,
    config: DictConfig,
    loader: ConfigLoader,
    make_launch: Callable[[DictConfig], Launch],
) -> None:
    """Run the unfinished jobs of a multirun; each value of a list in `arguments` makes a job.

    `make_launch` returns what launches jobs, given a configuration of the multirun.

    Raises:
        ValueError: a setting of a job is wrong, or its folder holds another run; no job started.
        Unfinished: at least one job did not finish.
    """
    if num_processes() > 1:
        raise ValueError(f"--multirun must run in one process, got {num_processes()} from torchrun")
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    sweep = Path(config.hydra.sweep.dir).absolute()
    if swept := [each for each in arguments if _is_sweep_setting(each) and "," in each]:
        raise ValueError(f"{swept[0].partition('=')[0]} must be one value, got {swept[0]}")
    settings = [each for each in arguments if not _is_sweep_setting(each)]
    if is_of_chains(settings):
        _check_no_subdir(config)
        jobs = compose_chain_jobs(loader, settings, sweep=sweep)
    else:
        jobs = compose_jobs(loader, config, settings)
    launches = {
        launcher: make_launch(with_launcher(config, launcher))
        for launcher in dict.fromkeys(job.launcher for job in jobs)
    }
    pending = [job for job in jobs if not _is_finished(job, sweep)]
    trainings: list[list[Job]] = []
    if pending:
        start_forkserver()
        plan = partial(_plan_trainings, pending, sweep, config.sweep.share, is_local(config))
        trainings = call_in_process(plan)
    _log.info("%s", _announcement(len(jobs), len(pending), len(trainings)))
    folder = sweep / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _write_config(sweep / "multirun.yaml", config)
        write_jobs(folder, [_summarise(job) for job in jobs])
        write_table(sweep, folder)
        reasons: dict[str, str] = {}
        try:
            reasons = _launch_rounds(trainings, config, folder, launches)
        finally:
            missing = [job.name for job in pending if not _is_finished(job, sweep)]
            unfinished = {name: reasons.get(name, NOT_STARTED) for name in missing}
            rows = write_table(sweep, folder, unfinished)
            log_table(rows)
            _log.info("%s; %s", count_states(row["state"] for row in rows), sweep / "sweep.csv")
            _log.info("next: %s", shell_command("plots", f"runs={config.hydra.sweep.dir}"))
    if missing:
        raise Unfinished(
            f"{len(missing)} of {len(rows)} jobs did not finish, see {sweep / 'sweep.csv'}; "
            "run the same command again to resume them"
        )


def _check_no_subdir(config: DictConfig) -> None:
    """Refuse a template of folder names, since those of stages are fixed."""
    for override in config.hydra.overrides.hydra:
        if "sweep.subdir=" in override:
            raise ValueError(f"hydra.sweep.subdir must not be given with chain, got {override}")


def _write_config(path: Path, config: DictConfig) -> None:
    """Write the configuration of a multirun, its overrides as they were typed."""
    shown = copy.deepcopy(config)
    OmegaConf.set_readonly(shown.hydra, False)
    given: Any = OmegaConf.to_container(config.hydra.overrides.task)
    shown.hydra.overrides.task = [as_typed(each) for each in given]
    OmegaConf.save(shown, path)


def _is_finished(job: Job, sweep: Path) -> bool:
    return job_status(sweep / job.name, job.config) == "finished"


def _is_sweep_setting(argument: str) -> bool:
    return argument.lstrip("+").startswith("sweep.")


def _plan_trainings(
    jobs: Sequence[Job], sweep: Path, share: bool, reads_data: bool
) -> list[list[Job]]:
    """Plan in another process, since this one imports no torch."""
    from visionlab.sweeps.workers.checks import plan_trainings

    return plan_trainings(jobs, sweep=sweep, share=share, reads_data=reads_data)


def _announcement(num_jobs: int, num_pending: int, num_trainings: int) -> str:
    jobs, trainings = count(num_jobs, "job"), count(num_trainings, "training")
    if num_pending == num_jobs:
        return f"{jobs}, {trainings}"
    if not num_pending:
        return f"{jobs}, all already finished"
    return f"{jobs}, {num_jobs - num_pending} already finished, {num_pending} to run in {trainings}"


def _launch_rounds(
    trainings: Sequence[Sequence[Job]], config: DictConfig, folder: Path, launches: Launches
) -> dict[str, str]:
    """Launch trainings, those that need others after them; return reasons as `_launch` does.

    A round has one launcher; trainings with other settings of it are for the next.
    """
    reasons: dict[str, str] = {}
    waiting, sweep = list(trainings), folder.parent
    while waiting:
        pending = {job.name for jobs in waiting for job in jobs}
        ready = [jobs for jobs in waiting if not pending & _needs(jobs)]
        launcher = ready[0][0].launcher
        ready = [jobs for jobs in ready if jobs[0].launcher == launcher]
        waiting = [jobs for jobs in waiting if jobs not in ready]
        lacking = {job.name: _unfinished_need(job, sweep) for jobs in ready for job in jobs}
        reasons |= {name: f"{need} did not finish" for name, need in lacking.items() if need}
        ready = [jobs for jobs in ready if not any(lacking[job.name] for job in jobs)]
        reasons |= _launch(ready, config, folder, launches[launcher]) if ready else {}
        is_failed = any(not _is_finished(job, sweep) for jobs in ready for job in jobs)
        if config.sweep.fail_fast and is_failed:
            break
    return reasons


def _needs(jobs: Sequence[Job]) -> set[str]:
    return {name for job in jobs for name in job.needs}


def _unfinished_need(job: Job, sweep: Path) -> str | None:
    return next((n for n in job.needs if read_record(sweep / n).get("status") != "finished"), None)


def _launch(
    trainings: Sequence[Sequence[Job]], config: DictConfig, folder: Path, launch: Launch
) -> dict[str, str]:
    """Launch trainings; return, by job name, the reason to report if the job did not finish."""
    begun = time.strftime("%Y-%m-%d %H:%M:%S")
    launcher = config.hydra.runtime.choices["hydra/launcher"]
    fail_fast = config.sweep.fail_fast and launcher != "process"  # which handles it itself
    overrides = []
    for jobs in trainings:
        path = folder / f"training_{jobs[0].number}.json"
        plan = TrainingPlan(
            begun=begun,
            fail_fast=fail_fast,
            jobs={job.name: job.config for job in jobs},
            compositions={job.name: job.composition for job in jobs},
        )
        write_plan(path, plan)
        subdir, training = quoted(jobs[0].name), quoted(str(path))
        parts = sorted({name for job in jobs for name in job.config["parts"]})
        allowed = [f"parts=[{','.join(parts)}]"] if parts else []
        own = [f"hydra.sweep.subdir={subdir}", f"sweep.training={training}"]
        overrides.append([*own, *allowed])
    try:
        with lost_jobs_as_failures(launcher):
            returns: Sequence[JobReturn | None] = launch(overrides)
        reason = "the job was lost"
    except Interrupted:
        raise
    except Exception as error:  # some launchers abort all jobs when one is lost
        returns, reason = [None] * len(trainings), explain(error)
        _log.error("the launcher failed: %s", reason)
    return {
        job.name: _reason(result) or reason
        for jobs, result in zip(trainings, returns, strict=True)
        for job in jobs
    }


def _reason(result: JobReturn | None) -> str | None:
    if result is None:
        return None
    if result.status == JobStatus.FAILED:
        return explain(result._return_value)
    return "the job ended before its training"


def _summarise(job: Job) -> JobSummary:
    task: Mapping[str, Any] = job.config["task"]
    return JobSummary(name=job.name, swept=job.swept, monitor=task["monitor"], mode=task["mode"])
