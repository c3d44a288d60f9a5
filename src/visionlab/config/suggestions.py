"""What somebody may have meant by a name that there is not."""

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a question after the names nearest to `name`, to end a message; empty if none is."""
    close = difflib.get_close_matches(name, list(names), n=2)
    return f"; did you mean {' or '.join(close)}?" if close else ""
