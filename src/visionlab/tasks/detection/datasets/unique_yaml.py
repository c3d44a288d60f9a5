"""YAML files in which no key is repeated."""

import reprlib
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 30,000 files take minutes without C


class _Loader(_Safe):  # type: ignore[misc]
    """Safe loader that refuses a repeated key, of which YAML would keep the last silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping."""
        content: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        if len(content) < len(node.value):
            keys = [getattr(key, "value", None) for key, _ in node.value]
            twice = next((key for key in keys if keys.count(key) > 1), keys[0])
            raise yaml.YAMLError(f"the key {twice!r} twice")
        return content


def read_mapping(path: Path) -> dict[Any, Any]:
    """Return the content of a YAML file that is a mapping.

    Raises:
        ValueError: it is not YAML, not a mapping, or has a key twice.
    """
    try:
        content = yaml.load(path.read_bytes(), _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be YAML, got {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must be a YAML mapping, got {reprlib.repr(content)}")
    return content
