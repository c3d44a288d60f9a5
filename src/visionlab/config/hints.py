"""Type hints that values of a configuration can be compared with."""

import ast
import builtins
import collections.abc
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from visionlab.core.checks import is_in

_HOMES = (typing, collections.abc)
_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.Collection)
_MAPPINGS = (dict, collections.abc.Mapping)
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    types.NoneType: "null",
}


class ExpectedPart:
    """Stands for a class whose instance is built from a node with a `_target_`."""


def is_part(value: Any) -> bool:
    """Return whether a value of a configuration is built from a `_target_`."""
    return isinstance(value, Mapping) and "_target_" in value


def evaluate(annotation: ast.expr, look_up: Callable[[str], Any]) -> Any:
    """Return the type hint of an annotation; `Any` for what cannot be told from its text.

    `look_up` returns the hint of a name that is neither built in nor of `typing`.
    """
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    code = compile(ast.Expression(annotation), "<annotation>", "eval")
    try:
        return eval(code, {"__builtins__": {}}, _Names(look_up))
    except Exception:  # what an annotation of somebody's package evaluates to is not foreseeable
        return Any


class _Names(dict[str, Any]):
    """The names that an annotation may use."""

    def __init__(self, look_up: Callable[[str], Any]) -> None:
        super().__init__()
        self._look_up = look_up

    def __missing__(self, name: str) -> Any:
        known = getattr(builtins, name, None)
        if isinstance(known, type):
            return known
        homes = [home for home in _HOMES if hasattr(home, name)]
        return getattr(homes[0], name) if homes else self._look_up(name)


def matches(value: Any, hint: Any) -> bool:
    """Return whether a value fits a hint; a node with a `_target_` fits any, as it is built."""
    if is_part(value) or hint is Any:
        return True
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:  # with an interval, for functions, which check nothing themselves
        return matches(value, args[0]) and is_in(args[1], value)
    if origin is Literal:
        return any(value == each and type(value) is type(each) for each in args)
    if origin in (typing.Union, types.UnionType):
        return any(matches(value, each) for each in args)
    if origin in (int, float):
        kinds = int if origin is int else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool)
    if origin is None or origin in _WORDS:
        return value is None if origin in (None, types.NoneType) else isinstance(value, origin)
    if origin in _LISTS:
        kind = args[0] if args else Any
        return isinstance(value, list | tuple) and all(matches(each, kind) for each in value)
    if origin in _MAPPINGS:
        kind = args[1] if args else Any
        return isinstance(value, Mapping) and all(matches(each, kind) for each in value.values())
    is_class = isinstance(origin, type)
    return not (is_class and issubclass(origin, ExpectedPart | collections.abc.Callable))


def mismatch(key: str, value: Any, hint: Any) -> str:
    """Return a message about a value that does not fit; of a mapping, about its wrong entry."""
    if isinstance(value, Mapping) and (get_origin(hint) or hint) in _MAPPINGS and get_args(hint):
        entry_hint = get_args(hint)[1]
        for name, entry in value.items():
            if not matches(entry, entry_hint):
                return mismatch(f"{key}.{name}", entry, entry_hint)
    return f"{key} must be {describe(hint)}, got {value!r}"


def describe(hint: Any) -> str:
    """Return a hint in words, as "a number or null"."""
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return f"{describe(args[0])} in {args[1]}"
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(each) for each in args)
    if origin in _LISTS:
        return f"a list (each {describe(args[0])})" if args and args[0] is not Any else "a list"
    if origin in _MAPPINGS:
        return "settings by name"
    if isinstance(origin, type) and issubclass(origin, ExpectedPart):
        return f"a {origin.__name__} (a part with _target_)"
    return "null" if origin is None else _WORDS.get(origin, "anything")
