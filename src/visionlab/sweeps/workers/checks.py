"""What is found out about the jobs of a multirun before the first of them begins."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from visionlab.config.errors import explain, is_users
from visionlab.config.run_config import completed, training_key
from visionlab.engine.checkpoints import LAST
from visionlab.runs.build import build_data, build_recipes, without_first_weights
from visionlab.runs.combinations import Recipes, riding_keys
from visionlab.runs.training import prepare_machine, put_together
from visionlab.sweeps.multirun.jobs import Job
from visionlab.task import Data

Checked = tuple[Job, DictConfig, Recipes]


def plan_trainings(
    jobs: Sequence[Job], *, sweep: Path, share: bool, reads_data: bool
) -> list[list[Job]]:
    """Check jobs, and return those together that can share a training.

    To be called in a process of its own: data and models stay in memory, GPUs in use.

    Args:
        jobs: to be trained.
        sweep: the folder of theirs; a job that goes on there needs no weights to start from.
        share: whether jobs that differ only in what rides along share a training.
        reads_data: whether to find out too what only the data and this machine can tell.

    Raises:
        ValueError: a setting of a job is out of range, or fits others badly.
    """
    shares: dict[str, list[Checked]] = {}
    for job in jobs:
        checked = _check(job)
        riding = riding_keys(checked[-1]) if share else []
        shares.setdefault(training_key(job.config, riding), []).append(checked)
    if reads_data:
        logging.disable()
        _try(list(shares.values()), sweep)
    return [[job for job, *_ in checked] for checked in shares.values()]


def _check(job: Job) -> Checked:
    config = completed(OmegaConf.create(dict(job.config)))
    try:
        return job, config, build_recipes(config)
    except Exception as error:
        raise _named(error, job) from error


def _named(error: Exception, job: Job) -> Exception:
    """Return an error that says whose it is; a fault of the program stays what it is."""
    return ValueError(f"{explain(error)} (job {job.name})") if is_users(error) else error


def _try(shares: Sequence[Sequence[Checked]], sweep: Path) -> None:
    """Build what trainings need; those that differ in their seeds are alike in this."""
    tried: set[tuple[str, bool]] = set()
    data: dict[str, Data] = {}  # what was read last
    for share in shares:
        key = training_key(share[0][0].config, ["global_seed"]), _goes_on(share, sweep)
        if key in tried:
            continue
        tried.add(key)
        try:
            _build(share, sweep, data)
        except Exception:
            _blame(share, sweep, data)
            raise


def _blame(share: Sequence[Checked], sweep: Path, data: dict[str, Data]) -> None:
    """Raise what is wrong with the first job of a share that cannot be built alone."""
    for checked in share:
        try:
            _build([checked], sweep, data)
        except Exception as error:
            raise _named(error, checked[0]) from error


def _build(share: Sequence[Checked], sweep: Path, data: dict[str, Data]) -> None:
    config, recipes = share[0][1], [recipes for *_, recipes in share]
    device, _ = prepare_machine(config)
    key = json.dumps([OmegaConf.to_container(config[name]) for name in ("dataset", "augment")])
    if key not in data:
        data.clear()
        data[key] = build_data(config, recipes[0], device)
    parts = without_first_weights(config) if _goes_on(share, sweep) else config
    put_together(parts, recipes, data[key], device)


def _goes_on(share: Sequence[Checked], sweep: Path) -> bool:
    return all((sweep / job.name / "checkpoints" / LAST).exists() for job, *_ in share)
