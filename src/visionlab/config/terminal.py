"""Where log lines go on a terminal. Imports no torch: logging is set up before a run is."""

import logging
import sys
from typing import TextIO


class StandardOutput(logging.StreamHandler[TextIO]):
    """Logs to what standard output is at that moment, so that a line appears above a progress bar.

    Errors are left to a handler on standard error.
    """

    def __init__(self) -> None:
        super().__init__(sys.stdout)
        self.addFilter(lambda record: record.levelno < logging.ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self.stream = sys.stdout
        super().emit(record)


def table_text(table: object, *, width: int) -> str:
    """Return a table of rich as plain text, at most `width` characters wide."""
    from rich.console import Console  # logging is set up at each start, tables are rare

    # class names and reasons may have brackets or colons, which mean styles and emoji to rich
    console = Console(width=width, color_system=None, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()
