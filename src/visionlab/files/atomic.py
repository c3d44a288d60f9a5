"""Atomic file writes: write a temporary file, flush it to disk, rename it over the old one.

Imports no torch; `tensors` writes tensor files.
"""

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO


def make_output_folder(out: Path) -> Path:
    """Make the folder that the setting `out` names, unless it exists, and return it.

    Raises:
        ValueError: it cannot be made or written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".written").touch()
        (out / ".written").unlink()
    except OSError as error:
        raise ValueError(f"out must be a writable folder, got {out}: {error.strerror}") from error
    return out


@contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """Make the folder that the setting `out` names; remove what is new of it and stays empty.

    Raises:
        ValueError: it cannot be made or written to.
    """
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    make_output_folder(out)
    try:
        yield out
    finally:
        with suppress(OSError):  # it holds results
            for folder in new:
                folder.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_file(path, lambda file: file.write(text.encode()))


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file atomically; `write` fills the open binary file.

    Raises:
        OSError: the file cannot be written; the old one is untouched.
    """
    with staged_file(path, write) as staged:
        staged.replace(path)


@contextmanager
def growing_file(path: Path) -> Iterator[Callable[[str], None]]:
    """Write a text file piece by piece: aside, then renamed to `path` if nothing is raised.

    The context is the function that writes; its folder must exist.

    Raises:
        OSError: the file cannot be written; an old one is untouched.
    """
    staged = _staging_path(path)
    try:
        with _as_error_of(path):
            file = staged.open("w", encoding="utf-8", newline="")
        with file:

            def write(text: str) -> None:
                with _as_error_of(path):
                    file.write(text)

            yield write
            with _as_error_of(path):
                file.flush()
                os.fsync(file.fileno())
        with _as_error_of(path):
            staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


@contextmanager
def _as_error_of(path: Path) -> Iterator[None]:
    """Let an error in writing name the file."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{path} cannot be written, {_reason(error)}") from error


def append_text(path: Path, text: str) -> None:
    """Append to a text file.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OSError(f"{path} cannot be written, {_reason(error)}") from error


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV; text that a spreadsheet would take for a formula gets a ' before it."""
    lines = []
    for row in rows:
        line = io.StringIO()
        # with the default end of line, since the writer quotes only the characters of that
        csv.writer(line).writerow(
            [_as_text(each) if isinstance(each, str) else each for each in row]
        )
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


def _as_text(cell: str) -> str:
    is_number = re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", cell, re.IGNORECASE)
    return f"'{cell}" if re.match(r"[=+@\t\r-].", cell, re.DOTALL) and not is_number else cell


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically; non-finite numbers become null."""
    write_text(path, json.dumps(_replace_non_finite(content), indent=2) + "\n")


def _replace_non_finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _replace_non_finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def staged_file(path: Path, write: Callable[[BinaryIO], object]) -> Iterator[Path]:
    """Write and flush a temporary file beside `path`; remove it on exit unless it was renamed."""
    staged = _staging_path(path)
    try:
        with staged.open("w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        yield staged
    except (OSError, RuntimeError) as error:
        raise OSError(f"{path} cannot be written, {_reason(error)}") from error
    finally:
        staged.unlink(missing_ok=True)


def _staging_path(path: Path) -> Path:
    """Return a temporary name beside `path`; leftovers of a killed process are overwritten."""
    return path.with_name(f".{path.name}.tmp")


def replace_with_hard_link(path: Path, link: Path) -> None:
    """Make `link` a hard link to `path`, atomically; `path` stays in place throughout."""
    staged = _staging_path(link)
    staged.unlink(missing_ok=True)
    try:
        os.link(path, staged)
    except OSError:  # no hard links here: move `path`, so that one of the two always exists
        path.replace(link)
    else:
        staged.replace(link)


def fsync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: BaseException) -> str:
    """Return the system's error text, or else the first line without torch's C++ stack."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]
