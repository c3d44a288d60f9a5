"""Values of settings, in order."""

import json
from typing import Any


def is_number(value: Any) -> bool:
    """Return whether a value of a setting is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def order(value: Any) -> tuple[bool, float, str]:
    """Return what sorts values of a setting: words, then numbers by size."""
    text = json.dumps(value, sort_keys=True, default=str)
    return is_number(value), float(value) if is_number(value) else 0.0, text
