"""What the scripts share: schemas and resolvers for Hydra, and errors in one line.

Nothing here imports torch.
"""

import argparse
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionlab.engine.following import first_speaks, followers_folder
from visionlab.engine.interrupt import Interrupted
from visionlab.settings.scripts import SCHEMAS

CONF = str(Path(__file__).parents[2] / "conf")
_FULL_ERROR = "HYDRA_FULL_ERROR"
_USER_ERRORS = (ValueError, OSError, FloatingPointError, InstantiationException)
_MAX_FOLDER_NAME = 120
_made: list[Path] = []  # folders of runs and studies that this process made
_log = logging.getLogger("visionlab")


class Unfinished(Exception):  # noqa: N818 - others finished
    """Some jobs of a multirun did not finish."""


_ENDS = (Unfinished, Interrupted)


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
    if folder_aside := followers_folder():
        return folder_aside
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
    """Return the overrides of a job as one folder's name, without separators and not too long.

    Where something had to go, a hash keeps the names of different jobs different.
    """
    name = re.sub(r"[^\w.,=+\-\[\]]+", "-", overrides) or "defaults"
    if len(name) <= _MAX_FOLDER_NAME and name == (overrides or name):
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
            with first_speaks():
                check_keys(config)
                return function(config)
        except (*_USER_ERRORS, Interrupted, RuntimeError) as error:
            if _wants_traceback() or not is_users(error):
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
    sys.argv[1:] = _for_hydra(sys.argv[1:])
    argparse.ArgumentParser.error = _refuse  # type: ignore[assignment, method-assign]
    register()
    logging.raiseExceptions = False  # a full disk is reported once, not at every line of a log
    try:
        with first_speaks():
            main()
    except BrokenPipeError:  # --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except (
        HydraException,
        OmegaConfBaseException,
        Unfinished,
        Interrupted,
        *_USER_ERRORS,
    ) as error:
        if traceback:
            raise
        print(f"error: {explain(error)}", file=sys.stderr)  # noqa: T201 - logging may not be set up
        _discard_unused()
        refused = isinstance(error, HydraException) and not isinstance(
            error, InstantiationException
        )
        sys.exit(2 if refused else getattr(error, "exit_code", 1))


def check_keys(config: DictConfig) -> None:
    """Refuse keys that a leading + put where the schema has none, and values not given.

    Raises:
        ValueError: there are such keys.
    """
    check_known(config)
    if missing := OmegaConf.missing_keys(config):
        raise ValueError(f"{', '.join(sorted(missing))} must be given, got nothing")


def check_known(config: DictConfig) -> None:
    """Refuse keys that a leading + put where the schema has none.

    Raises:
        ValueError: there are such keys.
    """
    if unknown := _unknown_keys(config):
        names = f"{', '.join(unknown)} must be a setting; overrides need no leading +"
        raise ValueError(names + _nearest(unknown[0].split(".")[-1], _all_names()))


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
        return text + _nearest((unknown[1] or unknown[2]).split(".")[-1], _all_names())
    if choice := re.search(r"Could not find '(?:.*/)?(.*)'", message):
        return text + _nearest(choice[1], re.findall(r"^\t(\S+)$", message, re.MULTILINE))
    return text


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=2)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _for_hydra(arguments: Sequence[str]) -> list[str]:
    """Return arguments as Hydra takes them.

    A group that the defaults list is chosen without +, and habit has `experiment` with one. In a
    multirun, Hydra would first set what all jobs have in common where no job has chosen yet, which
    fails for `dataset=cifar10,cifar100 dataset.root=DIR`; a choice of one is left to the jobs.
    """
    arguments = [re.sub(r"^\+(?=experiment=)", "", each) for each in arguments]
    if not {"--multirun", "-m"} & set(arguments):
        return arguments
    return [_as_choice(each) if _is_of_a_part(each) else each for each in arguments]


def _is_of_a_part(argument: str) -> bool:
    key = argument.partition("=")[0]
    return bool(re.fullmatch(r"\w+(\.\w+)+", key)) and not key.startswith(("hydra.", "sweep."))


def _as_choice(argument: str) -> str:
    key, _, value = argument.partition("=")
    choice = f"{key}=choice({value})"
    try:
        override, _ = OverridesParser.create().parse_overrides([argument, choice])
    except HydraException:  # a choice cannot be null; what else is wrong Hydra says itself
        return argument
    return argument if override.is_sweep_override() else choice


def _refuse(parser: argparse.ArgumentParser, message: str) -> None:
    """Make what argparse does not understand one line; it would print its usage too."""
    options = [name for action in parser._actions for name in action.option_strings]
    unknown = re.search(r"unrecognized arguments: (\S+)", message)
    if unknown and not unknown[1].startswith("-"):
        message = f"options must stand before or after all overrides, got {unknown[1]} after one"
    elif unknown:
        message += _nearest(unknown[1], options)
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 - logging is not set up
    sys.exit(2)


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
    """Return the names of all settings, of launchers and sweepers too."""
    schemas = [schema for group in SCHEMAS.values() for schema in group.values()]
    names = {field.name for schema in schemas for field in dataclasses.fields(schema)}
    of_hydra = ConfigStore.instance().repo.get("hydra", {})
    for group in ("launcher", "sweeper"):
        for stored in of_hydra.get(group, {}).values():
            names |= {str(key) for key in getattr(stored, "node", {})}
    return sorted(names)


def is_users(error: BaseException) -> bool:
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
