"""One training of a multirun, and the jobs that share it, wherever it is launched."""

import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from visionlab.configs import completed, going_on, plain_settings, training_key
from visionlab.engine.interrupt import Interrupted
from visionlab.engine.lock import is_held, locked
from visionlab.engine.resuming import parties
from visionlab.experiment import build_recipes
from visionlab.messages import explain
from visionlab.recipes import riding_keys
from visionlab.runs import train_together
from visionlab.storage import write_json
from visionlab.sweeps.plan_files import Plan, read_plan
from visionlab.sweeps.standing import read_record, standing
from visionlab.sweeps.table import listed_jobs, write_table

_WAIT_SECONDS = 60.0  # a process of a multirun that was killed may still be saving
_log = logging.getLogger(__name__)


def train_planned(path: Path) -> None:
    """Train the jobs of a plan that are not finished, as one training if they can share it.

    Args:
        path: of the plan, in the folder `.sweep` of the multirun's.

    Raises:
        ValueError: a job's folder holds another run, or is in use.
    """
    plan = read_plan(path)
    sweep = path.parent.parent
    if plan.fail_fast and (failed := _failed_since(plan, path.parent)):
        raise ValueError(f"sweep.fail_fast ends this multirun, since {failed} failed")
    folders = {sweep / name: config for name, config in plan.jobs.items()}
    with ExitStack() as held, _reported(folders, path.parent):
        for folder in folders:
            folder.mkdir(exist_ok=True)
            held.enter_context(locked(folder, wait_seconds=_WAIT_SECONDS))
        held.enter_context(_logged(folders))
        shares = list(_shares(folders))
        errors = [error for share in shares if (error := _train_share(*share, path.parent))]
        if errors:
            raise errors[0]


def _train_share(step: int, configs: Mapping[Path, DictConfig], folder: Path) -> Exception | None:
    """Train jobs together; return why they failed, so that others may go on."""
    try:
        train_together(configs, step=step)
    except Interrupted:
        raise
    except Exception as error:
        return error
    finally:
        write_table(folder.parent, folder, {})
    return None


def _shares(
    folders: Mapping[Path, Mapping[str, Any]],
) -> Iterator[tuple[int, dict[Path, DictConfig]]]:
    """Yield what is left to do: which jobs train together, and from which step they go on."""
    seed = secrets.randbelow(2**31)  # one for all that leave it open
    groups: dict[str, dict[Path, DictConfig]] = {}
    for folder, asked in folders.items():
        state = standing(folder, asked)
        if state == "finished":
            continue
        ((step, _),) = parties([folder / "checkpoints"])
        if step:
            config = OmegaConf.create(going_on(asked, folder))
        else:
            drawn = seed if asked["global_seed"] is None else asked["global_seed"]
            config = completed(OmegaConf.create({**asked, "global_seed": drawn}))
        key = training_key(plain_settings(config), riding_keys(build_recipes(config)))
        groups.setdefault(key, {})[folder] = config
    for configs in groups.values():
        for step, checkpoints in parties([folder / "checkpoints" for folder in configs]):
            yield step, {path.parent: configs[path.parent] for path in checkpoints}


@contextmanager
def _logged(folders: Mapping[Path, object]) -> Iterator[None]:
    """Log to the `run.log` of all jobs; Hydra does so for one of them."""
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
def _reported(folders: Mapping[Path, object], plans: Path) -> Iterator[None]:
    """Write down why jobs failed that did not come to do it themselves."""
    try:
        yield
    except Exception as error:
        for folder in folders:
            if read_record(folder).get("status") not in ("finished", "failed", "interrupted"):
                write_json(
                    folder / "run.json",
                    read_record(folder) | {"status": "failed", "error": explain(error)},
                )
        raise
    finally:
        write_table(plans.parent, plans, {})


def _failed_since(plan: Plan, plans: Path) -> str | None:
    """Return the name of a job of the multirun that failed since it began, or None."""
    for job in listed_jobs(plans):
        record = read_record(plans.parent / job.name)
        if job.name in plan.jobs or record.get("updated", "") < plan.begun:
            continue
        if record["status"] == "failed":
            return job.name
        if record["status"] == "running" and not is_held(plans.parent / job.name):
            return job.name
    return None
