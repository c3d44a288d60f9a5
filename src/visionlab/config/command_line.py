"""What the scripts share: schemas and resolvers for Hydra, and errors in one line.

Nothing here imports torch.
"""

import argparse
import functools
import hashlib
import logging
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionlab.config.checking import check_allowed, check_parts
from visionlab.config.errors import USER_ERRORS, check_known, explain, is_users, refuse
from visionlab.config.help import help_text
from visionlab.config.hydra_settings import guard_hydra_settings
from visionlab.config.nonzero_ranks import nonzero_rank_folder, quiet_nonzero_ranks
from visionlab.config.run_config import Invocation, current_invocation, plain
from visionlab.config.schemas import SCHEMAS
from visionlab.core.interrupt import Interrupted
from visionlab.files.run_folder import flatten_config

# what Hydra 1.4 says at each start, of what 1.3 needs
for _old in (
    "The version_base parameter is deprecated",
    r"register_new_resolver\(\) is deprecated",
    "Hydra configured Python logging without an execution whitelist",
):
    warnings.filterwarnings("ignore", message=rf"\s*{_old}")

# in a checkout beside src/, in a wheel within the package
_FOLDERS = (Path(__file__).parents[3] / "conf", Path(__file__).parents[1] / "conf")
CONF = str(next((each for each in _FOLDERS if (each / "train.yaml").is_file()), _FOLDERS[-1]))
_FULL_ERROR = "HYDRA_FULL_ERROR"
_MAX_FOLDER_NAME = 120
_made: list[Path] = []  # folders of runs and studies that this process made
_log = logging.getLogger("visionlab")


class Unfinished(Exception):  # noqa: N818 - others finished
    """Some jobs of a multirun did not finish."""


def register() -> None:
    """Tell Hydra the names and types of settings, and how run folders are named."""
    for name, schema in SCHEMAS.items():
        ConfigStore.instance().store(group="schema", name=name, node=schema, package="_global_")
    for resolver in (run_folder, folder_name, study_url, study_direction):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)


@functools.cache  # Hydra resolves it more than once
def run_folder(resume: str | None, task: str) -> str:
    """Return the folder of a resumed run, or make a new one that no other run has.

    Raises:
        FileNotFoundError: `resume` is not the folder of a run.
    """
    if folder_aside := nonzero_rank_folder():
        return folder_aside
    if resume:
        if not (Path(resume).expanduser() / "config.yaml").is_file():
            raise FileNotFoundError(f"resume must be the folder of a run, got {resume}")
        return str(Path(resume).expanduser())
    parent = Path("outputs", task)
    parent.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    folder, number = parent / stamp, 1
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            folder = parent / f"{stamp}_{number}"
        else:
            _made.append(folder)
            return str(folder)


def folder_name(overrides: str) -> str:
    """Return the overrides of a job as one folder's name, without separators and not too long.

    Where something had to go, a hash keeps the names of different jobs different.
    """
    name = re.sub(r"[^\w.,=+\-\[\]]+", "-", overrides) or "defaults"
    if len(name) <= _MAX_FOLDER_NAME and name == (overrides or name):
        return name
    return f"{name[:_MAX_FOLDER_NAME]}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"


def quoted(text: str) -> str:
    """Return text as a value that Hydra's grammar takes as it is."""
    return "'" + text.replace("'", "\\'") + "'"


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


def checked(config: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """Return a composed configuration as plain containers, its names and types checked.

    `overrides` are those of the command line, which alone may allow packages as `parts`.

    Raises:
        ValueError: a setting is unknown, missing or of a wrong type, or a part is not allowed.
    """
    check_known(config)
    settings = plain(config)
    check_allowed(settings["parts"], overrides)
    check_parts(settings, parts=settings["parts"])
    return settings


def job(function: Callable[[dict[str, Any], Invocation], Any]) -> Callable[[DictConfig], Any]:
    """Give a script its checked settings; log what a user got wrong as one line, with exit code.

    In a multirun the other jobs continue; a signal ends them all.
    """

    @functools.wraps(function)
    def reporting(config: DictConfig) -> Any:
        try:
            with quiet_nonzero_ranks():
                invocation = current_invocation()
                return function(checked(config, invocation.overrides), invocation)
        except (*USER_ERRORS, Interrupted, RuntimeError) as error:
            if _wants_traceback() or not is_users(error):
                raise
            if isinstance(error, Interrupted):
                _log.info("%s", error)
            else:
                _log.error("error: %s", explain(error))
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    raise  # to the launcher, which continues with the next job
            _discard_unused()
            sys.exit(getattr(error, "exit_code", 1))

    return reporting


def run(main: Callable[[], Any], *, script: str) -> None:
    """Run the Hydra main function of a script; what Hydra refuses is one line and exit code 2."""
    traceback = _wants_traceback()
    os.environ[_FULL_ERROR] = "1"  # or Hydra prints several lines itself
    os.environ["VISIONLAB_TRACEBACK"] = "1" if traceback else ""
    sys.argv[1:] = _for_hydra(sys.argv[1:])
    if any(each.startswith("parts=") for each in sys.argv):
        sys.path.append(str(Path.cwd()))  # a package of one's own may lie where one works
    argparse.ArgumentParser.error = refuse  # type: ignore[assignment, method-assign]
    register()
    guard_hydra_settings()
    logging.raiseExceptions = False  # a full disk is reported once, not at every line of a log
    try:
        if {"--help", "-h"} & set(sys.argv):
            _print_help(script)
            return
        with quiet_nonzero_ranks():
            main()
    except BrokenPipeError:  # --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped before the run began", file=sys.stderr)  # noqa: T201 - as below
        _discard_unused()
        sys.exit(128 + signal.SIGINT)
    except (HydraException, OmegaConfBaseException, Unfinished, Interrupted, *USER_ERRORS) as error:
        if traceback:
            raise
        known = functools.partial(_known_settings, script)
        print(f"error: {explain(error, known=known)}", file=sys.stderr)  # noqa: T201 - logging may not be set up
        _discard_unused()
        is_refused = isinstance(error, HydraException) and type(error) is not InstantiationException
        sys.exit(2 if is_refused else getattr(error, "exit_code", 1))


def _print_help(script: str) -> None:
    choices = [each for each in sys.argv[1:] if not each.startswith("-")]
    own = [Path(each).absolute() for each in _option_values("--config-dir", "-cd")]
    print(help_text(script, choices, folders=[Path(CONF), *own]))  # noqa: T201 - not a log


def _option_values(*names: str) -> list[str]:
    """Return the values of an option of Hydra's in the command line."""
    following = zip(sys.argv, sys.argv[1:], strict=False)
    joined = [each.partition("=")[2] for each in sys.argv if each.partition("=")[0] in names]
    return joined + [value for name, value in following if name in names]


def _known_settings(script: str) -> list[str]:
    """Return the dotted names of a script's settings and groups, as chosen just now."""
    choices = [each for each in sys.argv[1:] if re.fullmatch(r"[\w/]+=\w+", each)]
    GlobalHydra.instance().clear()
    with initialize_config_dir(CONF, version_base="1.3"):
        for overrides in ([each for each in choices if "," not in each], []):
            try:
                config = compose(script, overrides=overrides, return_hydra_config=True)
            except (HydraException, OmegaConfBaseException):  # one of the choices may be wrong too
                continue
            settings: Any = OmegaConf.to_container(config, resolve=False)
            return list(dict.fromkeys([*settings, *flatten_config(settings)]))
    return []


def _for_hydra(arguments: Sequence[str]) -> list[str]:
    """Return arguments as Hydra takes them.

    `+experiment=` loses its +, since the defaults list has the group; keys of `where` (plots.py)
    get one, since they are new. Paths are quoted for their = and commas. In a multirun, Hydra
    applies the overrides that all jobs share before any job selects its groups, which fails for
    `dataset=cifar10,cifar100 dataset.root=DIR`, so a single value becomes a choice of one.
    """
    arguments = [re.sub(r"^\+(?=experiment=)", "", _quoted_path(each)) for each in arguments]
    arguments = [re.sub(r"^(?=where\.)", "+", each) for each in arguments]
    if not {"--multirun", "-m"} & set(arguments):
        return arguments
    return [_as_choice(each) if _is_of_a_part(each) else each for each in arguments]


def _quoted_path(argument: str) -> str:
    key, _, value = argument.partition("=")
    is_path = "/" in value and re.search(r"[=,\[\]]", value) and Path(value).expanduser().exists()
    return f"{key}={quoted(value)}" if is_path else argument


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
