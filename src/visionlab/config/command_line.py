"""The edge of all scripts: schemas and resolvers for Hydra, errors in one line. Without torch."""

import argparse
import functools
import hashlib
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionlab.config.chains import for_chain, is_chain
from visionlab.config.checking import check_allowed, check_parts
from visionlab.config.errors import (
    MACHINE_ERRORS,
    USER_ERRORS,
    check_known,
    explain,
    is_users,
    refuse,
)
from visionlab.config.folder_arguments import name_folders
from visionlab.config.help import help_text, known_settings
from visionlab.config.hydra_settings import guard_hydra_settings, open_mappings
from visionlab.config.nonzero_ranks import nonzero_rank_folder, quiet_nonzero_ranks
from visionlab.config.overrides import as_choice, quote_paths, without_null_groups
from visionlab.config.run_config import Invocation, current_invocation, plain
from visionlab.config.saved import saved_task
from visionlab.config.schemas import SCHEMAS
from visionlab.config.terminal import outlive_terminal, printable
from visionlab.core.interrupt import Interrupted, describe_end, remember_interrupts

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
_OF_SAVED = (  # for a run's config.yaml as primary configuration; it may have been sent, or resumed
    "parts=[]",
    "resume=null",
    "hydra/job_logging=visionlab",
    "hydra/hydra_logging=visionlab",
    "hydra.output_subdir=null",
    "hydra.run.dir='${run_folder:${resume},${task.name}}'",
)
_FULL_ERROR = "HYDRA_FULL_ERROR"
_MAX_FOLDER_NAME = 120
_made: list[Path] = []  # folders of runs and studies that this process made
_log = logging.getLogger("visionlab")


class Unfinished(Exception):  # noqa: N818 - others finished
    """Some jobs of a multirun did not finish."""


_ENDINGS = (HydraException, OmegaConfBaseException, Unfinished)


def register() -> None:
    """Tell Hydra the names and types of settings, and how run folders are named."""
    for name, schema in SCHEMAS.items():
        ConfigStore.instance().store(group="schema", name=name, node=schema, package="_global_")
    for resolver in (run_folder, saved_task, folder_name, study_url, study_direction):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
    # Hydra hands the cached result on to the jobs
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True, use_cache=True)


@functools.cache  # Hydra resolves it more than once
def run_folder(resume: str | None, task: str) -> str:
    """Return the folder of a resumed run, or make a new one that no other run has.

    Raises:
        FileNotFoundError: `resume` is not the folder of a run.
    """
    if folder_aside := nonzero_rank_folder():
        return folder_aside
    if resume:
        folder = Path(resume).expanduser()
        if not (folder / "config.yaml").is_file() and not is_chain(folder):
            raise FileNotFoundError(f"resume must be the folder of a run, got {resume}")
        return str(folder)
    return _new_folder(Path("outputs", task))


def sweep_folder(config_name: str) -> str:
    """Make a folder for a multirun or tuning, which no other has."""
    return _new_folder(Path("tune" if config_name == "tune" else "multirun"))


def _new_folder(parent: Path) -> str:
    """Make a folder named by the time, with a number if there is one of this second already."""
    _make(parent)
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


def _make(folder: Path) -> None:
    """Make a folder, and remember what is new of it."""
    _made.extend(each for each in reversed([folder, *folder.parents]) if not each.exists())
    folder.mkdir(parents=True, exist_ok=True)


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
    _make(Path(folder))
    file = f"{Path(folder).absolute() / 'study.db'}"
    if re.search(r"[?#%{}]", file):  # which mean something in URLs, or in Optuna's
        return f"sqlite:///file:{quote(file)}?uri=true"
    return f"sqlite:///{file}"


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
    parts = settings.get("parts", [])  # commands that build nothing have no such setting
    check_allowed(parts, overrides)
    check_parts(settings, parts=parts)
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
        except (*USER_ERRORS, *MACHINE_ERRORS, Interrupted) as error:
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
    os.environ["MPLBACKEND"] = "agg"  # a notebook hands on its own, which needs its packages
    if {"--help", "-h"} & set(sys.argv) or any(each.startswith("parts=") for each in sys.argv):
        sys.path.append(str(Path.cwd()))  # a package of one's own may lie where one works
    argparse.ArgumentParser.error = refuse  # type: ignore[assignment, method-assign]
    register()
    outlive_terminal()
    remember_interrupts()
    guard_hydra_settings()
    open_mappings()
    logging.raiseExceptions = False  # a full disk is reported once, not at every line of a log
    try:
        sys.argv[1:] = _for_hydra(name_folders(sys.argv[1:], script=script))
        if {"--help", "-h"} & set(sys.argv):
            _print_help(script)
            return
        with quiet_nonzero_ranks():
            main()
        _discard_unused()  # such as a default folder that another configuration replaced
    except BrokenPipeError:  # --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (KeyboardInterrupt, Interrupted) as error:
        code, line = describe_end(error)
        print(line, file=sys.stderr)  # noqa: T201 - logging may not be set up
        _discard_unused()
        sys.exit(code)
    except (*_ENDINGS, *USER_ERRORS, *MACHINE_ERRORS) as error:
        if traceback or not (isinstance(error, _ENDINGS) or is_users(error)):
            raise
        choices = [each for each in sys.argv[1:] if re.fullmatch(r"[\w/]+=\w+", each)]
        known = functools.partial(known_settings, script, choices, folders=_folders())
        message = printable(explain(error, known=known))
        print(f"error: {message}", file=sys.stderr)  # noqa: T201 - as above
        _discard_unused()
        is_refused = isinstance(error, HydraException) and type(error) is not InstantiationException
        sys.exit(2 if is_refused else getattr(error, "exit_code", 1))


def _print_help(script: str) -> None:
    own = _option_values("--config-dir", "-cd")
    choices = [each for each in sys.argv[1:] if not each.startswith(("-", "parts="))]
    choices = [each for each in choices if each not in own]
    print(help_text(script, choices, folders=_folders()))  # noqa: T201 - not a log


def _folders() -> list[Path]:
    """Return the folders of configurations: visionlab's own and the user's."""
    own = _option_values("--config-dir", "-cd")
    return [Path(CONF), *(Path(each).absolute() for each in own)]


def _option_values(*names: str) -> list[str]:
    """Return the values of an option of Hydra's in the command line."""
    following = zip(sys.argv, sys.argv[1:], strict=False)
    joined = [each.partition("=")[2] for each in sys.argv if each.partition("=")[0] in names]
    return joined + [value for name, value in following if name in names]


def _for_hydra(arguments: Sequence[str]) -> list[str]:
    """Return arguments as Hydra takes them.

    Paths are quoted. Groups that may be null are removed, which Hydra refuses to do. Those of the
    stages of a chain become one list.
    `+experiment=` loses its +, since the defaults list has the group. In a multirun, Hydra applies
    the overrides that all jobs share before any job selects its groups, which fails for
    `dataset=cifar10,cifar100 dataset.root=DIR`, so a single value becomes a choice of one.
    """
    arguments = [re.sub(r"^\+(?=experiment=)", "", quote_paths(each)) for each in arguments]
    arguments = for_chain(without_null_groups(arguments, conf=Path(CONF)))
    given = {each.partition("=")[0] for each in arguments}
    if {"--config-name", "-cn"} & given:
        arguments += [each for each in _OF_SAVED if each.partition("=")[0] not in given]
    if not {"--multirun", "-m"} & set(arguments):
        return arguments
    return [as_choice(each) for each in arguments]


def _discard_unused() -> None:
    """Remove the new folder of what never began, so that mistakes leave nothing behind."""
    for folder in reversed(_made):
        with suppress(OSError):  # another run may begin in it
            if {path.name for path in folder.iterdir()} <= {"run.log"}:
                (folder / "run.log").unlink(missing_ok=True)
                folder.rmdir()


def _wants_traceback() -> bool:
    if "VISIONLAB_TRACEBACK" in os.environ:
        return bool(os.environ["VISIONLAB_TRACEBACK"])
    return os.environ.get(_FULL_ERROR) == "1"
