"""One launched training of a multirun and the jobs that share it."""

import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from visionlab.config.errors import explain
from visionlab.config.run_config import job_status, resolve_config, resume_config, training_key
from visionlab.config.saved import check_saved
from visionlab.core.interrupt import Interrupted
from visionlab.engine.distributed.data_parallel import process_group
from visionlab.engine.resume_points import Position, common_resume_points
from visionlab.files.atomic import write_json
from visionlab.files.locks import is_abandoned, locked
from visionlab.files.run_folder import read_config, read_record
from visionlab.runs.build import build_experiment
from visionlab.runs.experiment import training_invariant_keys
from visionlab.runs.initial_weights import without_initial_weights
from visionlab.runs.processes import call_in_processes
from visionlab.runs.record import now
from visionlab.runs.train import train_runs
from visionlab.sweeps.multirun.plan_files import TrainingPlan, read_plan
from visionlab.sweeps.multirun.table import read_jobs, write_table

_WAIT_SECONDS = 60.0  # a job of a killed multirun may still be saving
_MACHINE_KEYS = ("threads", "device")  # a resumed run keeps its own


def train_planned(path: Path, *, parts: Sequence[str]) -> None:
    """Train the unfinished jobs of a plan, together if they can share a training.

    The plan lies in the folder `.sweep` of the multirun; `parts` are the packages that the user
    allows.

    Raises:
        ValueError: a job's folder holds another run or is in use, or a part is not allowed.
    """
    plan, sweep = read_plan(path), path.parent.parent
    for name, config in plan.jobs.items():
        if not (sweep / name).resolve().is_relative_to(sweep.resolve()):
            raise ValueError(f"{path} must name folders in {sweep}, got {name!r:.60}")
        check_saved(config, origin=path, parts=parts)
    if plan.fail_fast and (failed := _failed_since(plan, path.parent)):
        raise ValueError(f"sweep.fail_fast stopped this multirun because {failed} failed")
    folders = {sweep / name: config for name, config in plan.jobs.items()}
    compositions = {sweep / name: each for name, each in plan.compositions.items()}
    errors: list[Exception] = []
    with ExitStack() as stack:
        for folder in folders:
            folder.mkdir(exist_ok=True)
            stack.enter_context(locked(folder, wait_seconds=_WAIT_SECONDS))
        stack.callback(write_table, sweep, path.parent)
        for position, configs in _group_by_training(folders, errors):
            write_table(sweep, path.parent)
            with _recorded_failures(configs, errors):
                count = next(iter(configs.values()))["num_processes"]
                training = partial(_train, configs, compositions=compositions, position=position)
                training() if count == 1 else call_in_processes(training, count=count)
    if errors:
        raise errors[0]


def _train(
    configs: Mapping[Path, Mapping[str, Any]],
    *,
    compositions: Mapping[Path, Mapping[str, Any]],
    position: Position,
) -> None:
    """Train jobs that share a training, in each of its processes."""
    with process_group(next(iter(configs.values()))["device"]), _log_to_folders(configs):
        train_runs(configs, compositions=compositions, position=position)


def _group_by_training(
    folders: Mapping[Path, Mapping[str, Any]], errors: list[Exception]
) -> list[tuple[Position, dict[Path, dict[str, Any]]]]:
    """Group unfinished jobs that train together, each group with its resume position."""
    groups: dict[str, dict[Path, dict[str, Any]]] = {}
    drawn_seed = _shared_seed(folders)
    for folder, requested in folders.items():
        with _recorded_failures([folder], errors):
            if job_status(folder, requested) == "finished":
                continue
            common_resume_points([folder / "checkpoints"])  # one of them must be intact
            if (folder / "config.yaml").exists():
                config = resume_config(requested, folder)
            else:
                given = requested["global_seed"]
                seed = drawn_seed if given is None else given
                config = resolve_config({**requested, "global_seed": seed})
            experiment = build_experiment(without_initial_weights(config))
            invariant = [*training_invariant_keys(experiment), *_MACHINE_KEYS]
            groups.setdefault(training_key(config, invariant), {})[folder] = config
    return [
        (position, {path.parent: configs[path.parent] for path in checkpoints})
        for configs in groups.values()
        for position, checkpoints in common_resume_points(
            [folder / "checkpoints" for folder in configs]
        )
    ]


def _shared_seed(folders: Mapping[Path, object]) -> int:
    """Return the seed of jobs with a null seed: the one a job drew before, or a new one."""
    for folder in folders:
        if (folder / "config.yaml").exists():
            return int(read_config(folder)["global_seed"])
    return secrets.randbelow(2**31)


@contextmanager
def _log_to_folders(folders: Mapping[Path, object]) -> Iterator[None]:
    """Log to the `run.log` of every job; Hydra configures only one of them."""
    root = logging.getLogger()
    files = [each for each in root.handlers if isinstance(each, logging.FileHandler)]
    known = {Path(each.baseFilename).resolve() for each in files}
    added = []
    for folder in folders:
        if files and (folder / "run.log").resolve() not in known:
            handler = logging.FileHandler(folder / "run.log")
            handler.setFormatter(files[0].formatter)
            root.addHandler(handler)
            added.append(handler)
    try:
        yield
    finally:
        for handler in added:
            root.removeHandler(handler)
            handler.close()


@contextmanager
def _recorded_failures(folders: Iterable[Path], errors: list[Exception]) -> Iterator[None]:
    """Record an error as failure of the jobs, unless they did so themselves; suppress it."""
    started = now()
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:
        errors.append(error)
        for folder in folders:
            record = read_record(folder)
            if record.get("status") != "failed" or record.get("updated", "") < started:
                failure = {"status": "failed", "error": explain(error), "updated": now()}
                write_json(folder / "run.json", record | failure)


def _failed_since(plan: TrainingPlan, plans: Path) -> str | None:
    """Return the name of a job that failed since the multirun started, or None."""
    for job in read_jobs(plans):
        record = read_record(plans.parent / job.name)
        if job.name in plan.jobs or record.get("updated", "") < plan.begun:
            continue
        is_killed = is_abandoned(plans.parent / job.name, record["status"])
        if record["status"] == "failed" or is_killed:
            return job.name
    return None
