"""Names of classes that differ."""

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

Key = TypeVar("Key", int, str)


def distinct_names(names: Mapping[Key, str]) -> dict[Key, str]:
    """Return names with their keys appended where several share one, `cat (3)`.

    If one of these is itself the name of another class, every name gets its key.
    """
    counts = Counter(names.values())
    distinct = {
        key: name if counts[name] == 1 else f"{name} ({key})" for key, name in names.items()
    }
    if len(set(distinct.values())) == len(names):
        return distinct
    return {key: f"{name} ({key})" for key, name in names.items()}
