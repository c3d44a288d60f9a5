"""Overrides as users type them, and as Hydra takes them."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

# the last names of settings that are paths, and those of parts of a data set
_PATHS = ("root", "run", "runs", "resume", "out", "dir", "checkpoint", "study", "members", "source")
_OF_DATASET = (
    "train",
    "val",
    "test",
    "annotations",
    "images",
    "classes",
    "class_names",
    "file",
    "list",
    "boxes",
    "listed_in",
)
_MAY_BE_NULL = {"chain", "experiment", "views", "ensemble", "fuse", "compare", "boxes", "search"}
_WRAPPED = re.compile(r"(\[|choice\()(.*)(\]|\))", re.DOTALL)


def quoted(text: str) -> str:
    """Return text as a value that Hydra's grammar takes as it is."""
    return str(QuotedString(text=text, quote=Quote.single).with_quotes())


def quote_paths(argument: str) -> str:
    """Return an override whose value, or each value of its list, is quoted if it is a path.

    Hydra's grammar has meanings for many signs that paths may have. A path is what exists and is
    the value of a setting of paths, or has a slash; and in a setting of paths, what Hydra refuses
    or reads as a number.
    """
    key, equal, value = argument.partition("=")
    is_path = _is_path_setting(key)
    if not equal or key.startswith("-") or not (is_path or "/" in value):
        return argument
    if paths := _existing(value):
        return f"{key}={','.join(_literal(key, path) for path in paths)}"
    wrapped = _WRAPPED.fullmatch(value)
    if wrapped and (paths := _existing(wrapped[2])):
        inner = ",".join(_literal(key, path) for path in paths)
        return f"{key}={wrapped[1]}{inner}{wrapped[3]}"
    if is_path and value[:1] not in ("'", '"') and _is_misread(argument):
        return f"{key}={quoted(_expanded(value))}"
    return argument


def _is_misread(argument: str) -> bool:
    """Return whether Hydra refuses an override of a path, or reads a number or truth value."""
    override = _parse(argument)
    if override is None:
        return True
    return not override.is_sweep_override() and isinstance(override.value(), int | float)


def without_model_group(arguments: Sequence[str]) -> list[str]:
    """Return arguments in which `model=`, the name of a saved model, chooses no file of conf."""
    return [re.sub(r"^model=", "models=", each) for each in arguments]


def as_choice(argument: str) -> str:
    """Return an override of a part's setting with a single value as a choice of one."""
    key, _, value = argument.partition("=")
    if not re.fullmatch(r"\w+(\.\w+)+", key) or key.startswith(("hydra.", "sweep.")):
        return argument
    given, choice = _parse(argument), _parse(f"{key}=choice({value})")
    # a choice cannot be null; what else is wrong Hydra says itself
    is_single = given is not None and choice is not None and not given.is_sweep_override()
    return f"{key}=choice({value})" if is_single else argument


def as_typed(argument: str) -> str:
    """Return an override as a user may have typed it: undo `as_choice` and `quote_paths`."""
    if choice := re.fullmatch(r"([\w.]+=)choice\((.*)\)", argument, re.DOTALL):
        single = f"{choice[1]}{choice[2]}"
        argument = single if as_choice(single) == argument else argument
    override = _parse(argument)
    value = None if override is None or override.is_sweep_override() else override.value()
    if isinstance(value, list):
        value = f"[{','.join(map(str, value))}]"
    plain = f"{argument.partition('=')[0]}={value}".replace(r"\${", "${")
    return plain if isinstance(value, str) and quote_paths(plain) == argument else argument


def sweep_values(override: Override) -> list[str]:
    """Return the values of a sweep as written on the command line.

    Hydra's `choice` forgets quotes, without which Hydra would refuse some of its values.

    Raises:
        HydraException: the values cannot be enumerated.
    """
    key, values = override.get_key_element(), list(override.sweep_iterator())
    texts = list(override.sweep_string_iterator())
    return [
        quoted(value) if isinstance(value, str) and not _is_read(key, text, value) else text
        for value, text in zip(values, texts, strict=True)
    ]


def _is_path_setting(key: str) -> bool:
    *parents, last = key.lstrip("+").split(".")
    of_dataset = parents[:1] == ["dataset"] and last in _OF_DATASET
    return last in _PATHS or of_dataset or [*parents, last] == ["model", "backbone", "weights"]


def _existing(text: str) -> list[str]:
    """Return the existing paths that a text consists of, separated by commas; [] for other text."""
    if _exists(text):
        return [text]
    for comma in re.finditer(r",\s*", text):
        first, rest = text[: comma.start()], text[comma.end() :]
        if _exists(first) and (others := _existing(rest)):
            return [first, *others]
    return []


def _exists(path: str) -> bool:
    return path not in ("", "null") and os.path.lexists(_expanded(path))


def _expanded(path: str) -> str:
    """Return a path with ~ replaced by the home folder, unless there is a file of that name."""
    expanded = path if os.path.lexists(path) else os.path.expanduser(path)  # noqa: PTH111 - Path raises
    return f"./{expanded}" if expanded.startswith("~") else expanded


def _literal(key: str, path: str) -> str:
    """Return an existing path as Hydra takes it: as it is, if that means the same."""
    if _is_read(key, path, path) and "${" not in path and not path.endswith("\\"):
        return path
    return quoted(_expanded(path).replace("${", r"\${"))


def _is_read(key: str, text: str, value: str) -> bool:
    """Return whether Hydra reads a text as a value."""
    override = _parse(f"{key}={text}")
    is_value = override is not None and not override.is_sweep_override()
    return is_value and override.value() == value  # type: ignore[union-attr]


def _parse(argument: str) -> Override | None:
    """Return an override as Hydra reads it, or None if Hydra refuses it."""
    try:
        return OverridesParser.create().parse_overrides([argument])[0]
    except HydraException:
        return None


def without_null_groups(arguments: Sequence[str], *, conf: Path) -> list[str]:
    """Return arguments in which no group of files below `conf` is null.

    Raises:
        ValueError: a group is null that must not be, or a list.
    """
    given = dict(each.split("=", 1) for each in arguments if re.match(r"\w+=(null$|\[)", each))
    for group, value in given.items():
        is_wrong = value != "null" or group not in _MAY_BE_NULL
        if is_wrong and (names := sorted(path.stem for path in Path(conf, group).glob("*.yaml"))):
            raise ValueError(f"{group} must be one of {', '.join(names)}, got {value}")
    null = {group for group, value in given.items() if value == "null"} & _MAY_BE_NULL
    kept = [each for each in arguments if each.partition("=")[0] not in null]
    return [*kept, *(f"~{group}" for group in null & {"search"})]  # the others are so by default
