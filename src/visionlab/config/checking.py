"""Checks of a composed configuration against the signatures of the parts that it names.

Nothing is imported, so a wrong command line is answered at once, and a configuration that somebody
sent builds nothing but visionlab's parts and those of packages that the user names.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from visionlab.config.hints import is_part, matches, mismatch
from visionlab.config.signatures import (
    Signature,
    UnknownPathError,
    UnreadableError,
    exported,
    read_signature,
)
from visionlab.config.suggestions import nearest, similar_settings

# targets of visionlab's own conf/ that none of its rooms exports
_OUTSIDE = (
    "optuna.pruners.MedianPruner",
    "optuna.pruners.NopPruner",
    "visionlab.sweeps.tuning.hyperband.Hyperband",  # its room is imported without Optuna
)
# arguments that the program gives, so that no setting can
_SUPPLIED: Mapping[str, Collection[str]] = {
    "model": ("num_classes",),
    "task.metric": ("class_names",),
    "task.draw": ("class_names", "to_pixels"),
    "task.export": ("categories",),
    "task.compare": ("class_names",),
    "compare": ("class_names",),
    "observers": ("folder",),
}
# settings that stand beside those of a part and belong to the run
_BESIDE: Mapping[str, Mapping[str, Any]] = {
    "model": {
        "checkpoint": str | None,
        "backbone": dict[str, Any],
        "classifier_std": float | None,
        "freeze": list[str],
    },
    "model.backbone": {"weights": str | None, "adapt_stem": bool},
}
_NOT_GIVEN = "???"


def check_allowed(parts: Sequence[str], overrides: Sequence[str]) -> None:
    """Refuse packages that are no name of one, or that a file allows instead of the user.

    `overrides` are those of the command line.

    Raises:
        ValueError: the message names the packages.
    """
    for name in parts:
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", str(name)):
            raise ValueError(f"parts must be names of packages, got {name!r:.60}")
    if parts and not any(each.lstrip("+").startswith("parts=") for each in overrides):
        names = ",".join(parts)
        raise ValueError(
            f"parts must be given on the command line, as parts=[{names}], got {names} from a file"
        )


def check_parts(value: Any, key: str = "", *, parts: Sequence[str]) -> None:
    """Compare every node that has a `_target_` with the signature of its class or function.

    `key` is where the value stands in the configuration, "" for a whole one; `parts` are the
    packages that may be named besides visionlab.

    Raises:
        ValueError: the first thing that is wrong, in the order of the configuration.
    """
    if value == _NOT_GIVEN:
        raise ValueError(f"{key} must be given, got nothing")
    if isinstance(value, list):
        for index, entry in enumerate(value):
            check_parts(entry, f"{key}.{index}", parts=parts)
    elif isinstance(value, Mapping):
        if is_part(value):
            _check_part(value, key, _allowed_signature(value, key, parts))
        for name, entry in value.items():
            check_parts(entry, _join(key, name), parts=parts)


def unset_settings(config: Mapping[str, Any], key: str = "") -> Iterator[str]:
    """Yield the settings that parts have but a configuration does not, as `+scheduler.factor`."""
    for name, value in config.items():
        full = _join(key, name)
        if is_part(value):
            with suppress(LookupError):
                for each, parameter in read_signature(str(value["_target_"])).parameters.items():
                    if parameter.default is not None and each not in value:
                        yield f"+{full}.{each}"
        if isinstance(value, Mapping):
            yield from unset_settings(value, full)


def _allowed_signature(node: Mapping[str, Any], key: str, parts: Sequence[str]) -> Signature:
    """Return the signature of what a node names; one that accepts all if it cannot be read."""
    full, target = _join(key, "_target_"), node["_target_"]
    if target == _NOT_GIVEN or not isinstance(target, str):
        raise ValueError(f"{full} must be the dotted path of a class or function, got {target!r}")
    try:
        _check_allowed(target, target, full, parts)
        _check_exported(target, full)
        signature = read_signature(target)
        _check_allowed(signature.path, target, full, parts)
    except UnreadableError:
        return Signature(path=target, summary="", parameters={}, accepts_any=True)
    except UnknownPathError as error:
        hint = f"; did you mean {' or '.join(error.similar)}?" if error.similar else ""
        raise ValueError(f"{full} must name a class or function, got {target!r}{hint}") from error
    return signature


def _check_allowed(path: str, target: str, full: str, parts: Sequence[str]) -> None:
    """Refuse a target outside the allowed packages, also one that an import in them leads to."""
    allowed = ("visionlab", *parts)
    if target in _OUTSIDE or any(f"{path}.".startswith(f"{name}.") for name in allowed):
        return
    origin = "" if path == target else f", which is {path}"
    raise ValueError(
        f"{full} must be in visionlab or a package named in parts=[...], got {target!r}{origin}"
    )


def _check_exported(target: str, full: str) -> None:
    """Refuse what no room of visionlab exports: it is no part."""
    module, _, name = target.rpartition(".")
    is_own = module.startswith("visionlab.") and target not in _OUTSIDE
    if is_own and name not in exported(module):
        hint = nearest(name, exported(module))
        raise ValueError(f"{full} must be a part that visionlab exports, got {target!r}{hint}")


def _check_part(node: Mapping[str, Any], key: str, signature: Signature) -> None:
    """Check names and types of the settings of a part, and that none is missing."""
    group = "observers" if key.startswith("observers.") else key
    supplied, beside = _SUPPLIED.get(group, ()), _BESIDE.get(key, {})
    for name, value in node.items():
        full, parameter = _join(key, name), signature.parameters.get(name)
        if name == "_target_" or value == _NOT_GIVEN:
            continue
        if name in supplied:
            raise ValueError(f"{full} must be left out: the program gives it, got {value!r}")
        if parameter is None and name not in beside:
            if signature.accepts_any and not name.startswith("_"):
                continue
            raise ValueError(_unknown(name, key, signature, [*beside], supplied))
        hint = beside[name] if parameter is None else parameter.hint
        is_default = parameter is not None and parameter.default == repr(value)
        if not is_default and not matches(value, hint):
            raise ValueError(mismatch(full, value, hint))
        if parameter is None and full in _BESIDE:
            _check_beside(value, full)
    for name, parameter in signature.parameters.items():
        is_open = parameter.is_setting and parameter.default is None
        if is_open and name not in (*node, *supplied):
            raise ValueError(f"{_join(key, name)} must be given, got nothing")


def _check_beside(node: Mapping[str, Any], key: str) -> None:
    """Check settings that stand beside those of a part which has none of this name."""
    for name, value in node.items():
        full, hints = _join(key, name), _BESIDE[key]
        if name not in hints:
            hint = similar_settings(full, [_join(key, each) for each in hints])
            raise ValueError(f"{full} must be a setting of {key}{hint or ': ' + ', '.join(hints)}")
        if value != _NOT_GIVEN and not matches(value, hints[name]):
            raise ValueError(mismatch(full, value, hints[name]))


def _unknown(
    name: str, key: str, signature: Signature, beside: Sequence[str], supplied: Collection[str]
) -> str:
    """Return a message about a name that is no setting of a part."""
    names = [each for each in (*signature.parameters, *beside) if each not in supplied]
    hint = similar_settings(_join(key, name), [_join(key, each) for each in names])
    part = signature.path.rpartition(".")[2]
    return f"{_join(key, name)} must be a setting of {part}{hint or ': ' + ', '.join(names)}"


def _join(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)
