"""What is found out about the jobs of a multirun before the first of them begins."""

import json
import logging
import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection

from omegaconf import DictConfig, OmegaConf

from visionlab.command_line import explain, is_users
from visionlab.configs import completed, training_key
from visionlab.experiment import build_data, build_recipes
from visionlab.recipes import Recipes, riding_keys
from visionlab.sweeps.jobs import Job
from visionlab.task import Data
from visionlab.training import prepare_machine, put_together

Checked = tuple[Job, DictConfig, Recipes]
_log = logging.getLogger(__name__)


def plan_trainings(jobs: Sequence[Job], *, share: bool, reads_data: bool) -> list[list[Job]]:
    """Check jobs, and return those together that can share a training.

    Args:
        jobs: to be trained.
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
        _try_in_a_process(list(shares.values()))
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


def _try_in_a_process(shares: Sequence[Sequence[Checked]]) -> None:
    """Build what trainings need, but for their seeds, in a process that then ends.

    This one stays as it is: it will be forked, and must have started no threads and no GPU.
    """
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_try, args=(shares, sender))
    process.start()
    sender.close()
    try:
        message = receiver.recv()
    except EOFError:
        message = None
        _log.warning("the jobs could not be tried out; each will say itself what is wrong with it")
    process.join()
    if message:
        raise ValueError(message)


def _try(shares: Sequence[Sequence[Checked]], sender: Connection) -> None:
    logging.disable()
    tried: set[str] = set()
    data: dict[str, Data] = {}  # what was read last
    for share in shares:
        job, config, _ = share[0]
        key = training_key(job.config, ["global_seed"])
        if key in tried:
            continue
        tried.add(key)
        try:
            _build(config, [recipes for *_, recipes in share], data)
        except Exception as error:
            if not is_users(error):
                raise
            sender.send(f"{explain(error)} (job {job.name})")
            return
    sender.send(None)


def _build(config: DictConfig, recipes: Sequence[Recipes], data: dict[str, Data]) -> None:
    device, _ = prepare_machine(config)
    key = json.dumps([OmegaConf.to_container(config[name]) for name in ("dataset", "augment")])
    if key not in data:
        data.clear()
        data[key] = build_data(config, recipes[0], device)
    put_together(config, recipes, data[key], device)
