"""Mistakes of a user in one line: parameter, rule, value got."""

import argparse
import dataclasses
import re
import sys
from collections.abc import Callable, Iterable

from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionlab.config.limits import explain_limit
from visionlab.config.suggestions import nearest, similar_settings
from visionlab.config.terminal import printable
from visionlab.core.interrupt import Interrupted

_MAX_NEAR = 40  # characters shown at either side of one that is wrong
_NOISE = ("To append to your config", "full_key:", "object_type=", "reference_type=", "See https")
USER_ERRORS = (ValueError, OSError, FloatingPointError, InstantiationException)
MACHINE_ERRORS = (RuntimeError, MemoryError, ImportError)  # some of which users can mend


def check_known(config: DictConfig) -> None:
    """Refuse keys that a leading + put where a schema has none.

    Raises:
        ValueError: there are such keys.
    """
    if unknown := _unknown_keys(config):
        raise ValueError(f"{', '.join(unknown)} must be a setting; overrides need no leading +")


def explain(error: BaseException, *, known: Callable[[], Iterable[str]] = tuple) -> str:
    """Return an error as one line: parameter, rule, value got.

    `known` returns the dotted names of all settings, for a question after the nearest.
    """
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, USER_ERRORS):
        return _prefixed(error.__cause__, str(error))
    if notes := getattr(error, "__notes__", None):  # where Hydra 1.4 says it
        return _prefixed(error, "\n".join(notes))
    if type(error).__name__ == "OutOfMemoryError":
        return "the device's memory must hold a batch; raise hparams.accumulate_steps"
    if limit := explain_limit(error):
        return limit
    if isinstance(error, UnicodeEncodeError):
        near = error.object[max(0, error.start - _MAX_NEAR) : error.end + _MAX_NEAR]
        return f"names of files and folders must be UTF-8, got {near!a}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        causes = [error.__cause__] if isinstance(error.__cause__, OmegaConfBaseException) else []
        return _explain_hydra("\n".join(str(part) for part in (error, *causes)), known)
    return " ".join(str(error).split())


def _prefixed(error: BaseException, text: str) -> str:
    """Return an error of a part with the part's key before it, as Hydra's text has it."""
    key = re.search(r"^\s*full_key: (.*)$", text, re.MULTILINE)
    message = " ".join(str(error).split())
    return f"{key[1]}.{message}" if key else message


def _explain_hydra(message: str, known: Callable[[], Iterable[str]]) -> str:
    message, _, places = message.partition("Config search path")
    lines = [line.strip().removesuffix(".") for line in message.splitlines()]
    text = "; ".join(line for line in lines if line and not line.startswith(_NOISE))
    text = re.sub(r"\w+ raised while resolving interpolation: ", "", text.replace(":;", ":"))
    if unknown := re.search(r"Could not override '([\w./@]+)'|Key '(\w+)' not in", message):
        key = unknown[1] or unknown[2]
        return f"{key} must be a setting{similar_settings(key, list(known()))}"
    single = re.search(r"Error merging override (\w+)=(.*)", message)
    if single and "is not a ListConfig" in message:
        return f"{single[1]} must be a list, as {single[1]}=[{single[2]}], got {single[2]}"
    if choice := re.search(r"Could not find '(?:.*/)?(.*)'", message):
        meant = nearest(choice[1], re.findall(r"^\t(\S+)$", message, re.MULTILINE))
        own = "" if "command-line" in places else "; --config-dir FOLDER adds files of your own"
        return text + (meant or own)
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


def is_users(error: BaseException) -> bool:
    """Return whether an error is one that a user can mend, not a fault of the program."""
    if isinstance(error, InstantiationException):
        return isinstance(error.__cause__, USER_ERRORS)
    named = type(error).__name__ == "OutOfMemoryError" or explain_limit(error) is not None
    return named or isinstance(error, (*USER_ERRORS, Interrupted))


def refuse(parser: argparse.ArgumentParser, message: str) -> None:
    """Make what argparse does not understand one line; it would print its usage too."""
    options = [name for action in parser._actions for name in action.option_strings]
    unknown = re.search(r"unrecognized arguments: (\S+)", message)
    if unknown and not unknown[1].startswith("-"):
        message = f"options must stand before or after all overrides, got {unknown[1]} after one"
    elif unknown:
        message += nearest(unknown[1], options)
    print(f"error: {printable(message)}", file=sys.stderr)  # noqa: T201 - logging is not set up
    sys.exit(2)
