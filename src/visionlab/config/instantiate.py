"""Build what a configuration names as `_target_`. Imports no part before it is built.

A class is instantiated; a function is bound to its settings, to be called by the program.
"""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from visionlab.config.hints import is_part

TARGET = "_target_"


def instantiate_part(settings: Mapping[str, Any], *, key: str, **arguments: Any) -> Any:
    """Build a part: an instance of a class, or a function bound to its settings.

    Which targets may be built at all, `config.checking` decides beforehand. `key` is where the
    settings stand in the configuration, as `model.backbone`; `arguments` cannot stand there.

    Raises:
        ValueError: a setting is out of range; the message begins with its full key.
    """
    part = bind_part(settings, key=key, **arguments)
    if inspect.isclass(part.func):
        return call_with_key(part, key=key)
    return part if part.keywords else part.func


def bind_part(settings: Mapping[str, Any], *, key: str, **arguments: Any) -> functools.partial[Any]:
    """Return the class or function itself, bound to its settings; nested parts are built.

    The arguments and errors are those of `instantiate_part`.
    """
    if not is_part(settings):
        raise ValueError(f"{key} must be a part with {TARGET}, got a {type(settings).__name__}")
    target = locate(str(settings[TARGET]), key=key)
    bound = {
        name: _instantiate_nested(value, key=f"{key}.{name}")
        for name, value in settings.items()
        if name != TARGET
    }
    return functools.partial(target, **{**bound, **arguments})


def call_with_key(part: Callable[..., Any], *, key: str, **arguments: Any) -> Any:
    """Call a part; a `ValueError` of its own names the setting with its full key."""
    try:
        return part(**arguments)
    except ValueError as error:
        is_full = str(error).startswith(f"{key.partition('.')[0]}.")
        raise ValueError(str(error) if is_full else f"{key}.{error}") from error


def locate(path: str, *, key: str) -> Callable[..., Any]:
    """Return the class or function at a dotted path.

    Raises:
        ValueError: there is none.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
    except (ImportError, AttributeError, ValueError) as error:
        rule = f"{key}.{TARGET} must name a class or function"
        raise ValueError(f"{rule}, got {path!r} ({error})") from error


def _instantiate_nested(value: Any, *, key: str) -> Any:
    if isinstance(value, Mapping):
        if TARGET in value:
            return instantiate_part(value, key=key)
        return {name: _instantiate_nested(value[name], key=f"{key}.{name}") for name in value}
    if isinstance(value, list):
        return [_instantiate_nested(each, key=f"{key}.{place}") for place, each in enumerate(value)]
    return value
