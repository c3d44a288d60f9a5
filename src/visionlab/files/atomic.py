"""Files that are never half replaced: written aside, flushed to the disk, renamed over the old one.

Imports no torch; files of tensors are in `tensor_files`.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


def write_text(path: Path, text: str) -> None:
    """Write a small text file, replacing what was there in one step."""
    write_file(path, lambda file: file.write(text.encode()))


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file by a function, replacing what was there in one step.

    Raises:
        OSError: the disk is full or refuses; the old file is untouched.
    """
    with written_aside(path, write) as aside:
        aside.replace(path)


def append_text(path: Path, text: str) -> None:
    """Append to a text file.

    Raises:
        OSError: the disk is full or refuses.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OSError(f"{path} cannot be written, {_reason(error)}") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, replacing what was there in one step; numbers not finite become null."""
    write_text(path, json.dumps(_finite(content), indent=2) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def written_aside(path: Path, write: Callable[[BinaryIO], object]) -> Iterator[Path]:
    """Write a file beside `path` and flush it; it is gone afterwards unless it was renamed."""
    aside = _aside(path)
    try:
        with aside.open("w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        yield aside
    except (OSError, RuntimeError) as error:
        raise OSError(f"{path} cannot be written, {_reason(error)}") from error
    finally:
        aside.unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    """Return a name beside `path`; what a killed process left there is overwritten."""
    return path.with_name(f".{path.name}.tmp")


def replace_by_link(path: Path, link: Path) -> None:
    """Make `link` a second name of `path`; `path` never disappears meanwhile."""
    aside = _aside(link)
    aside.unlink(missing_ok=True)
    try:
        os.link(path, aside)
    except OSError:  # a file system without hard links: `link` is there whenever `path` is not
        path.replace(link)
    else:
        aside.replace(link)


def flush_folder(folder: Path) -> None:
    """Flush to the disk which files a folder holds."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: BaseException) -> str:
    """Return the system's words if it has some, or the first line, without torch's C++ stack."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]
