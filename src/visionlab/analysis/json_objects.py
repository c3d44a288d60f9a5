"""Objects of JSON files whose values are checked when they are taken."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visionlab.analysis.predictions import Array
from visionlab.analysis.values import is_number
from visionlab.files.documents import expect_mapping, parse_json, read_text

_HUGE = 1 << 1023  # integers from which on floats may overflow


def read_object(path: Path) -> "JsonObject":
    """Read a JSON file.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    content = parse_json(read_text(path), origin=path)
    return JsonObject(path, "", expect_mapping(content, origin=path, holding="an object"))


class JsonObject(NamedTuple):
    """An object in a JSON file. All methods raise ValueError for values of other types."""

    path: Path
    place: str  # in the file: the keys that lead there, each with a dot behind it
    content: Mapping[str, Any]

    def take(self, key: str, rule: str, fits: Callable[[Any], bool]) -> Any:
        """Return a value that fits; `rule` says what does."""
        value = self.content.get(key)
        if not fits(value):
            raise ValueError(
                f"{self.path} must have {rule} as {self.place}{key}, got {value!r:.60}"
            )
        return value

    def text(self, key: str) -> str:
        """Return a text."""
        found: str = self.take(key, "text", lambda value: isinstance(value, str))
        return found

    def optional_text(self, key: str) -> str | None:
        """Return a text, None if it is null or absent."""
        return None if self.content.get(key) is None else self.text(key)

    def texts(self, key: str) -> list[str]:
        """Return a list of texts."""
        found: list[str] = self.take(key, "a list of texts", _are_texts)
        return found

    def object(self, key: str) -> "JsonObject":
        """Return an object, empty if it is null or absent."""
        found = self.take(key, "an object or null", lambda value: isinstance(value, dict | None))
        return JsonObject(self.path, f"{self.place}{key}.", found or {})

    def numbers(self) -> dict[str, float]:
        """Return all values, which are numbers."""
        values = {key: self.take(key, "a number or null", _is_number) for key in self.content}
        return {key: _array(value).item() for key, value in values.items()}

    def columns(self, *keys: str) -> list[Array]:
        """Return lists of numbers of equal lengths."""
        found = [_array(self.take(key, "a list of numbers", _are_numbers)) for key in keys]
        for key, column in zip(keys, found, strict=True):
            if len(column) != len(found[0]):
                rule = f"{len(found[0])} numbers as {self.place}{key}, as many as {keys[0]}"
                raise ValueError(f"{self.path} must have {rule}, got {len(column)}")
        return found

    def table(self, key: str, *columns: str) -> Array:
        """Return the rows of a list of objects with some numbers, (N, len(columns))."""

        def fits(value: Any) -> bool:
            rows = value if isinstance(value, list) else [None]
            return all(isinstance(row, dict) and row.keys() >= set(columns) for row in rows)

        rows = self.take(key, f"a list of objects with {', '.join(columns)}", fits)
        items = [JsonObject(self.path, f"{self.place}{key}.", row) for row in rows]
        values = [
            [item.take(each, "a number or null", _is_number) for each in columns] for item in items
        ]
        return _array(values).reshape(-1, len(columns))

    def matrices(self, size: int) -> dict[str, Array]:
        """Return all values, which are (size, size)."""

        def fits(value: Any) -> bool:
            rows = value if isinstance(value, list) else []
            return len(rows) == size and all(_are_numbers(row) and len(row) == size for row in rows)

        rule = f"{size} x {size} numbers"
        return {key: _array(self.take(key, rule, fits)) for key in self.content}


def _array(values: Any) -> Array:
    """Return numbers, with NaN for null."""
    return np.array(values, dtype=np.float64)


def _is_number(value: Any) -> bool:
    is_huge = isinstance(value, int) and abs(value) >= _HUGE
    return value is None or (is_number(value) and not is_huge)


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(map(_is_number, values))


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
