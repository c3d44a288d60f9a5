"""Files of tensors that are either whole or recognised as broken.

They are torch's zip format with a SHA-256 of their content in the zip's comment: `torch.load` and
`unzip -z` read them as they are. They hold tensors and plain containers only, so reading one runs
no code.
"""

import hashlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from visionlab.files.atomic import flush_folder, replace_by_link, written_aside

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

    with written_aside(path, write) as aside:
        if keep is not None and path.exists():
            replace_by_link(path, keep)
        aside.replace(path)
    flush_folder(path.parent)


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
