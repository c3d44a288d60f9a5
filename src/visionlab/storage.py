"""Files that are either whole or recognised as broken, and never half replaced.

A file is written aside, flushed to the disk and renamed over the old one. Tensor files are torch's
zip format with a SHA-256 of their content in the zip's comment: `torch.load` and `unzip -z` read
them as they are. They hold tensors and plain containers only, so reading one runs no code.
"""

import hashlib
import json
import math
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

_PREFIX = b"sha256:"
_COMMENT_LENGTH = len(_PREFIX) + 64
_CHUNK = 1 << 20


def write_tensors(path: Path, content: Mapping[str, Any], *, keep: Path | None = None) -> None:
    """Write tensors and plain containers to `path`, replacing what was there in one step.

    Args:
        path: the file to write.
        content: what to write.
        keep: where the file that `path` held until now stays, if it is to stay.

    Raises:
        OSError: the disk is full or refuses; the old file is untouched.
    """

    def write(file: BinaryIO) -> None:
        torch.save(dict(content), file)
        _seal(file)

    with _written_aside(path, write) as aside:
        if keep is not None and path.exists():
            _replace_by_link(path, keep)
        aside.replace(path)
    _flush_folder(path.parent)


def read_tensors(path: Path, *, sealed: bool) -> dict[str, Any]:
    """Read a tensor file on the CPU.

    Args:
        path: a file of `write_tensors`, or if not `sealed` any file of `torch.save`.
        sealed: whether a file without a checksum is refused.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is cut short, altered, or holds more than tensors and containers.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    _check_seal(path, required=sealed)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} must hold tensors and plain containers only; it holds other objects, or is "
            "not a checkpoint, and was not run"
        ) from error
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f"{path} is not a whole checkpoint file") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a dictionary, got {type(content).__name__}")
    return content


def write_text(path: Path, text: str) -> None:
    """Write a small text file, replacing what was there in one step."""
    write_file(path, lambda file: file.write(text.encode()))


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file by a function, replacing what was there in one step.

    Raises:
        OSError: the disk is full or refuses; the old file is untouched.
    """
    with _written_aside(path, write) as aside:
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
def _written_aside(path: Path, write: Callable[[BinaryIO], object]) -> Iterator[Path]:
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


def _seal(file: BinaryIO) -> None:
    """Put the checksum of everything before the zip's comment into that comment."""
    file.flush()
    file.seek(-2, os.SEEK_END)
    if file.read(2) != b"\0\0":
        raise RuntimeError("torch.save no longer ends its zip with an empty comment")
    end = file.tell() - 2
    digest = _digest(file, end)
    file.seek(end)
    file.write(_COMMENT_LENGTH.to_bytes(2, "little") + _PREFIX + digest)
    file.flush()


def _check_seal(path: Path, *, required: bool) -> None:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        end = size - _COMMENT_LENGTH - 2
        file.seek(max(0, end))
        tail = file.read()
        if end < 0 or not tail.startswith(_COMMENT_LENGTH.to_bytes(2, "little") + _PREFIX):
            if required:
                raise ValueError(f"{path} is cut short: its checksum is missing")
            return
        if _digest(file, end) != tail[2 + len(_PREFIX) :]:
            raise ValueError(f"{path} was altered: its checksum does not match its content")


def _digest(file: BinaryIO, end: int) -> bytes:
    """Return the hexadecimal SHA-256 of the first `end` bytes."""
    file.seek(0)
    digest = hashlib.sha256()
    while end > 0 and (chunk := file.read(min(_CHUNK, end))):
        digest.update(chunk)
        end -= len(chunk)
    return digest.hexdigest().encode()


def _replace_by_link(path: Path, link: Path) -> None:
    """Make `link` a second name of `path`; `path` never disappears meanwhile."""
    aside = _aside(link)
    aside.unlink(missing_ok=True)
    try:
        os.link(path, aside)
    except OSError:  # a file system without hard links: `link` is there whenever `path` is not
        path.replace(link)
    else:
        aside.replace(link)


def _flush_folder(folder: Path) -> None:
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
