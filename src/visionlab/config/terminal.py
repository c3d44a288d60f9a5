"""Text and signals of a terminal. Imports next to nothing: this comes before all else."""

import errno
import io
import logging
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

_LOG_WIDTH = 1000  # characters, where nothing breaks lines
# controls of terminals, of the direction of text, and halves of characters; no tabs or line ends
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return text with escapes instead of what would command the terminal."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{ending}"


class PrintableFormatter(logging.Formatter):
    """Formats records without what would command a terminal; user text may have any characters."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return printable(super().format(record))


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


class LastingTerminal:
    """A stream to a terminal; once that is closed, what is written goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text."""
        return self._attempt(lambda: self._stream.write(text)) or 0

    def flush(self) -> None:
        """Write what is still buffered."""
        self._attempt(self._stream.flush)

    def _attempt(self, write: Callable[[], int | None]) -> int | None:
        try:
            return write()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            return None


def end_on_interrupt() -> None:
    """Let a signal end the process with one line, until the run installs its own handlers."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, _end)


def _end(number: int, _: object) -> None:
    os.write(2, b"stopped before the run began\n")
    os._exit(128 + number)


def shell_command(script: str, *arguments: str) -> str:
    """Return a command of this program for a shell, in the form in which it was started itself."""
    place = Path(sys.argv[0])
    is_installed = place.name == "visionlab" or place.parts[-2:] == ("visionlab", "__main__.py")
    start = ["visionlab", script] if is_installed else ["python", f"{script}.py"]
    return shlex.join([*start, *arguments])


def outlive_terminal() -> None:
    """Let a run save its state after its terminal was closed, and print what this cannot show."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        if stream is not None and stream.isatty():
            setattr(sys, name, LastingTerminal(stream))


def output_width() -> int:
    """Return the characters of a line of the terminal, or enough for any table in a log."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _LOG_WIDTH


def table_text(table: object, *, width: int) -> str:
    """Return a table of rich as plain text, at most `width` characters wide."""
    from rich.console import Console  # logging is set up at each start, tables are rare

    # class names and reasons may have brackets or colons, which mean styles and emoji to rich
    console = Console(width=width, color_system=None, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()
