"""YAML, JSON and CSV files from anywhere.

Whatever is wrong with one is one line that names the file.
"""

import csv
import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 8 times as fast, if available
_MAX_VALUES = 1_000_000


class _Loader(_Safe):  # type: ignore[misc]
    """Safe loader that refuses a repeated key, of which YAML would keep the last silently."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse repeated keys; then, once a mapping, replace `<<` by the keys that it stands for.

        Those may be overridden.
        """
        if getattr(node, "is_flat", False):
            return
        node.is_flat = True
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key.value, str)]
        if len(set(keys)) < len(keys):
            twice = next(value for tag, value in keys if keys.count((tag, value)) > 1)
            raise yaml.YAMLError(f"the key {twice!r} twice")
        super().flatten_mapping(node)


def read_text(path: Path) -> str:
    """Return the text of a file, without the mark that some editors put at its start.

    Raises:
        ValueError: it is not UTF-8.
        OSError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8, got {error.reason}") from error


def parse_yaml(text: str | bytes, *, origin: Path) -> Any:
    """Return the content of a YAML text; `origin` is its file.

    Raises:
        ValueError: it is no YAML, or its aliases stand for more than a million values.
    """
    try:
        if b"*" in (text.encode() if isinstance(text, str) else text):  # or there is no alias
            _check_extent(text)
        return yaml.load(text, _Loader)
    except RecursionError as error:
        raise ValueError(f"{origin} must be YAML, got lists in lists too deep") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ValueError(f"{origin} must be YAML, got {' '.join(str(error).split())}") from error


def parse_json(text: str | bytes, *, origin: Path) -> Any:
    """Return the content of a JSON text; `origin` is its file.

    Raises:
        ValueError: it is no JSON, or repeats a key.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError(f"{origin} must be JSON, got lists in lists too deep") from error
    except ValueError as error:
        raise ValueError(f"{origin} must be JSON, got {error}") from error


def parse_csv(text: str, *, origin: Path) -> list[list[str]]:
    """Return the cells of each row of a CSV text, without the ' that `csv_text` puts before some.

    Raises:
        ValueError: it is no CSV.
    """
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(f"{origin} must be CSV, got {error}") from error
    return [[re.sub(r"^'(?=[=+@\t\r-])", "", cell) for cell in row] for row in rows]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; of a repeated key, Python would keep the last value silently."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} twice in one object")
    return found


def expect_mapping(content: Any, *, origin: Path, holding: str) -> dict[str, Any]:
    """Return content that is a mapping.

    Raises:
        ValueError: it is something else; `holding` is the content to expect.
    """
    if not isinstance(content, dict):
        kind = "nothing" if content is None else f"a {type(content).__name__}"
        raise ValueError(f"{origin} must hold {holding}, got {kind}")
    return content


def _check_extent(text: str | bytes) -> None:
    """Refuse a text whose aliases multiply, since a few bytes can stand for billions of values."""
    extents: dict[str | None, int] = {}  # values below each anchor
    opened: list[tuple[str | None, int]] = [(None, 0)]  # anchor and extent of each open collection
    for event in yaml.parse(text, _Loader):
        extent = 0
        if isinstance(event, CollectionStartEvent):
            opened.append((event.anchor, 1))
        elif isinstance(event, CollectionEndEvent):
            anchor, extent = opened.pop()
            extents[anchor] = extent
        elif isinstance(event, AliasEvent):  # of a collection that is still open: without end
            is_open = event.anchor in dict(opened)
            extent = _MAX_VALUES + 1 if is_open else extents.get(event.anchor, 0)
        elif isinstance(event, NodeEvent):
            extent = extents[event.anchor] = 1
        anchor, before = opened[-1]
        opened[-1] = (anchor, before + extent)
        if before + extent > _MAX_VALUES:
            raise ValueError(f"aliases that stand for more than {_MAX_VALUES:,} values")
