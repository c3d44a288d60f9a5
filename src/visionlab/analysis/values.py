"""Values of settings: type, order and text."""

import json
from collections.abc import Iterable
from typing import Any

_ENCODER = json.JSONEncoder(sort_keys=True, default=str)  # `json.dumps` would make one each time


def is_number(value: Any) -> bool:
    """Return whether a value is a number; a bool is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def to_json(value: Any) -> str:
    """Return a value as JSON text, which is equal for equal values."""
    return _ENCODER.encode(value)


def sort_key(value: Any) -> tuple[bool, float, str]:
    """Return a sort key: words first, then numbers by size."""
    return is_number(value), float(value) if is_number(value) else 0.0, to_json(value)


def distinct(values: Iterable[Any]) -> list[Any]:
    """Return each value once, sorted."""
    return sorted({to_json(value): value for value in values}.values(), key=sort_key)
