"""What the scripts share: schemas and resolvers for Hydra, and errors in one line.

Nothing here imports torch.
"""

import dataclasses
import difflib
import functools
import hashlib
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionlab.engine.interrupt import Interrupted
from visionlab.settings.scripts import SCHEMAS

CONF = str(Path(__file__).parents[2] / "conf")
_FULL_ERROR = "HYDRA_FULL_ERROR"
_USER_ERRORS = (ValueError, OSError, FloatingPointError, InstantiationException)
_MAX_FOLDER_NAME = 120
_made: list[Path] = []  # folders of runs and studies that this process made
_log = logging.getLogger("visionlab")


def register() -> None:
    """Tell Hydra the names and types of settings, and how run folders are named."""
    store = ConfigStore.instance()
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            package = "_global_" if group == "schema" else None
            store.store(group=group, name=name, node=schema, package=package)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
    OmegaConf.register_new_resolver("study_url", study_url, replace=True)
    OmegaConf.register_new_resolver("study_direction", study_direction, replace=True)


@functools.cache  # Hydra resolves it more than once
def run_folder(resume: str | None, task: str) -> str:
    """Return the folder of a resumed run, or make a new one that no other run has.

    Raises:
        FileNotFoundError: `resume` is not the folder of a run.
    """
    if resume:
        if not (Path(resume).expanduser() / "config.yaml").is_file():
            raise FileNotFoundError(f"resume must be the folder of a run, got {resume}")
        return str(Path(resume).expanduser())
    parent = Path("outputs", task)
    parent.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    for number in range(1, sys.maxsize):
        folder = parent / (stamp if number == 1 else f"{stamp}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        _made.append(folder)
        return str(folder)
    raise AssertionError("unreachable")


def folder_name(overrides: str) -> str:
    """Return the overrides of a job as one folder's name, without separators and not too long."""
    name = re.sub(r"[^\w.,=+\-\[\]]+", "-", overrides) or "defaults"
    if len(name) <= _MAX_FOLDER_NAME:
        return name
    return f"{name[:_MAX_FOLDER_NAME]}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"


def study_url(study: str | None, folder: str) -> str:
    """Return the storage URL of a study: the one given, or a file in the sweep's folder.

    The folder is made, since Hydra's own sweeper opens the file before it does so.
    """
    if study:
        return study
    if not Path(folder).exists():
        Path(folder).mkdir(parents=True)
        _made.append(Path(folder))
    return f"sqlite:///{Path(folder).absolute() / 'study.db'}"


def study_direction(mode: str) -> str:
    """Return what Optuna calls the mode of a task."""
    return {"max": "maximize", "min": "minimize"}[mode]


def job(function: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Make what a user got wrong one line and an exit code, and keep it in the run's log.

    In a multirun the other jobs go on; a signal ends them all.
    """

    @functools.wraps(function)
    def reporting(config: DictConfig) -> Any:
        try:
            check_keys(config)
            return function(config)
        except (*_USER_ERRORS, Interrupted, RuntimeError) as error:
            if _wants_traceback() or not _is_users(error):
                raise
            _log.error("error: %s", explain(error))
            is_job_of_many = HydraConfig.get().mode == RunMode.MULTIRUN
            if is_job_of_many and not isinstance(error, Interrupted):
                raise  # to the launcher, which goes on with the next job
            _discard_unused()
            sys.exit(getattr(error, "exit_code", 1))

    return reporting


def run(main: Callable[[], Any]) -> None:
    """Run a Hydra main function; what Hydra refuses is one line and exit code 2."""
    traceback = _wants_traceback()
    os.environ[_FULL_ERROR] = "1"  # or Hydra prints several lines itself
    os.environ["VISIONLAB_TRACEBACK"] = "1" if traceback else ""
    register()
    logging.raiseExceptions = False  # a full disk is reported once, not at every line of a log
    try:
        main()
    except BrokenPipeError:  # --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except (HydraException, OmegaConfBaseException, *_USER_ERRORS) as error:
        if traceback:
            raise
        print(f"error: {explain(error)}", file=sys.stderr)  # noqa: T201 - logging may not be set up
        _discard_unused()
        refused = isinstance(error, HydraException) and not isinstance(
            error, InstantiationException
        )
        sys.exit(2 if refused else 1)


def check_keys(config: DictConfig) -> None:
    """Refuse keys that a leading + put where the schema has none, and values not given.

    Raises:
        ValueError: there are such keys.
    """
    if unknown := _unknown_keys(config):
        raise ValueError(f"{', '.join(unknown)} must be a setting; overrides need no leading +")
    if missing := OmegaConf.missing_keys(config):
        raise ValueError(f"{', '.join(sorted(missing))} must be given, got nothing")


def explain(error: BaseException) -> str:
    """Return an error as one line: what, the rule, the value got."""
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, _USER_ERRORS):
        key = re.search(r"^full_key: (.*)$", str(error), re.MULTILINE)
        return f"{key[1]}.{error.__cause__}" if key else str(error.__cause__)
    if type(error).__name__ == "OutOfMemoryError":
        return "the device's memory must hold a batch; raise hparams.accumulate_steps"
    if isinstance(error, HydraException | OmegaConfBaseException):
        causes = [error.__cause__] if isinstance(error.__cause__, OmegaConfBaseException) else []
        return _explain_hydra("\n".join(str(part) for part in (error, *causes)))
    return " ".join(str(error).split())


def _explain_hydra(message: str) -> str:
    message = message.split("Config search path")[0]
    noise = (
        "To append to your config",
        "full_key:",
        "object_type=",
        "reference_type=",
        "See https",
    )
    lines = [line.strip().removesuffix(".") for line in message.splitlines()]
    text = "; ".join(line for line in lines if line and not line.startswith(noise))
    text = re.sub(r"\w+ raised while resolving interpolation: ", "", text.replace(":;", ":"))
    unknown = re.search(r"Could not override '([\w./@]+)'|Key '(\w+)' not in", message)
    if unknown:
        key = (unknown[1] or unknown[2]).split(".")[-1]
        close = difflib.get_close_matches(key, _all_names(), n=2)
        text += f"; did you mean {' or '.join(close)}?" if close else ""
    return text


def _unknown_keys(config: DictConfig, prefix: str = "") -> list[str]:
    schema = OmegaConf.get_type(config)
    known = None
    if schema is not None and dataclasses.is_dataclass(schema):
        known = {field.name for field in dataclasses.fields(schema)}
    unknown = []
    for key, value in config.items_ex(resolve=False):
        key = str(key)
        if known is not None and key not in known:
            unknown.append(f"{prefix}{key}")
        elif isinstance(value, DictConfig) and not (value._is_missing() or value._is_none()):
            unknown += _unknown_keys(value, f"{prefix}{key}.")
    return unknown


def _all_names() -> list[str]:
    """Return the names of all settings."""
    schemas = [schema for group in SCHEMAS.values() for schema in group.values()]
    return sorted({field.name for schema in schemas for field in dataclasses.fields(schema)})


def _is_users(error: BaseException) -> bool:
    """Return whether an error is one that a user can mend, not a fault of the program."""
    if isinstance(error, InstantiationException):
        return isinstance(error.__cause__, _USER_ERRORS)
    named = type(error).__name__ == "OutOfMemoryError"
    return named or isinstance(error, (*_USER_ERRORS, Interrupted))


def _discard_unused() -> None:
    """Remove the new folder of what never began, so that mistakes leave nothing behind."""
    for folder in _made:
        if folder.is_dir() and {path.name for path in folder.iterdir()} <= {"run.log"}:
            (folder / "run.log").unlink(missing_ok=True)
            folder.rmdir()


def _wants_traceback() -> bool:
    if "VISIONLAB_TRACEBACK" in os.environ:
        return bool(os.environ["VISIONLAB_TRACEBACK"])
    return os.environ.get(_FULL_ERROR) == "1"
