"""COCO's JSON files as lists of validated entries."""

import math
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from visionlab.files.documents import parse_json

Entry = dict[str, Any]
_Rule = tuple[Callable[[Any], bool], str]

_MAX_ID = 2**63


def read(
    path: Path, *, annotations_optional: bool
) -> tuple[list[Entry], dict[int, str], list[Entry]]:
    """Return the images, the names of the categories by id, ids ascending, and the annotations.

    Raises:
        ValueError: the file is not JSON, a section or a key is missing, a value is invalid, or an
            id is repeated.
    """
    content = parse_json(path.read_bytes(), origin=path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold an object, got {type(content).__name__}")
    sides = {"width": _SIDE, "height": _SIDE}
    images = _entries(content, path, "images", {"id": _ID, "file_name": _NAME}, sides)
    categories = _entries(content, path, "categories", {"id": _ID, "name": _NAME}, {})
    names = dict(sorted((entry["id"], entry["name"]) for entry in categories))
    if annotations_optional and "annotations" not in content:
        return images, names, []
    needed = {"id": _ID, "image_id": _ID, "category_id": _ID}
    optional = {"bbox": _BBOX, "area": _AREA, "iscrowd": _FLAG}
    return images, names, _entries(content, path, "annotations", needed, optional)


def _entries(
    content: Mapping[str, Any],
    path: Path,
    section: str,
    needed: Mapping[str, _Rule],
    optional: Mapping[str, _Rule],
) -> list[Entry]:
    entries = content.get(section)
    if not isinstance(entries, list):
        found = ", ".join(content) if entries is None else reprlib.repr(entries)
        raise ValueError(f"{path} must have a list of {section}, got {found or 'no key'}")
    seen = set[int]()
    for place, entry in enumerate(entries):
        where = f"{path}: {section}[{place}]"
        if not isinstance(entry, dict):
            raise ValueError(f"{where} must be an object, got {reprlib.repr(entry)}")
        _check(entry, where, needed, optional)
        if entry["id"] in seen:
            raise ValueError(f"{where} must have an id of its own, got {entry['id']} again")
        seen.add(entry["id"])
    return entries


def _check(
    entry: Entry, where: str, needed: Mapping[str, _Rule], optional: Mapping[str, _Rule]
) -> None:
    for name, (is_allowed, rule) in {**needed, **optional}.items():
        if name in needed and name not in entry:
            raise ValueError(f"{where} must have {name}, got {', '.join(entry) or 'no key'}")
        value = entry.get(name)
        if (name in needed or value is not None) and not is_allowed(value):
            raise ValueError(f"{where}.{name} must be {rule}, got {reprlib.repr(value)}")


def _is_id(value: Any) -> bool:
    return type(value) is int and -_MAX_ID <= value < _MAX_ID


def is_number(value: Any) -> bool:
    """Return whether a value of JSON is a number that fits 64 bits, or NaN or infinite."""
    return type(value) is float or _is_id(value)


_ID = _is_id, "an integer of 64 bits"
_NAME = (lambda value: isinstance(value, str) and bool(value)), "a name"
_SIDE = (
    (lambda value: is_number(value) and value >= 1 and float(value).is_integer()),
    "a whole number of pixels",
)
_AREA = (lambda value: is_number(value) and 0 <= value < math.inf), "a finite number >= 0"
_BBOX = (
    (lambda value: isinstance(value, list) and len(value) in (0, 4) and all(map(is_number, value))),
    "4 numbers x, y, width, height, or empty",
)
_FLAG = (lambda value: value in (0, 1)), "0 or 1"
