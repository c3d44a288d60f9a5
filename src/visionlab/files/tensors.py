"""Tensor files with a checksum: a file is either whole or recognised as damaged.

The format is torch's zip file with the SHA-256 of its content in the zip comment, so `torch.load`
and `unzip -z` read it unchanged. Files hold tensors and plain containers only, so reading one
executes no code.
"""

import hashlib
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from visionlab.files.atomic import fsync_folder, replace_with_hard_link, staged_file

_PREFIX = b"sha256:"
_COMMENT_LENGTH = len(_PREFIX) + 64
_CHUNK = 1 << 20
_SAVE_STATE = (
    "if you trust it, load it yourself with {} and save its state only: "
    "torch.save(model.state_dict(), NEW_FILE)"
)


def write_tensors(path: Path, content: Mapping[str, Any], *, backup: Path | None = None) -> None:
    """Write tensors and plain containers to `path` atomically; keep the old file as `backup`.

    Raises:
        OSError: the file cannot be written; the old one is untouched.
    """

    def write(file: BinaryIO) -> None:
        torch.save(dict(content), file)
        _append_checksum(file)

    with staged_file(path, write) as staged:
        if backup is not None and path.exists():
            replace_with_hard_link(path, backup)
        staged.replace(path)
    fsync_folder(path.parent)


def require_file(path: Path) -> None:
    """Check that a path is a file.

    Raises:
        FileNotFoundError: it is not.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "nothing"
        raise FileNotFoundError(f"{path} must be a file, got {kind}")


def read_tensors(path: Path, *, require_checksum: bool) -> dict[str, Any]:
    """Read a file of `write_tensors`, or of `torch.save` if no checksum is required, to the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, altered, or holds more than tensors and containers.
    """
    return _load(path, require_checksum=require_checksum, mmap=False)


def map_tensors(path: Path) -> dict[str, Any]:
    """Read a file of `write_tensors` without copying its tensors into memory before their use.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, altered, or holds more than tensors and containers.
    """
    return _load(path, require_checksum=True, mmap=True)


def _load(path: Path, *, require_checksum: bool, mmap: bool) -> dict[str, Any]:
    require_file(path)
    _verify_checksum(path, required=require_checksum)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise ValueError(
            f"{path} must hold tensors and plain containers only; it holds "
            f"{named[1] if named else 'other objects, or is not a checkpoint'}, and was not run; "
            f"{_SAVE_STATE.format('torch.load(FILE, weights_only=False)')}"
        ) from error
    except Exception as error:  # a damaged file may raise anything
        if "TorchScript" in str(error):
            raise ValueError(
                f"{path} must hold tensors and plain containers only, got a TorchScript program; "
                f"{_SAVE_STATE.format('torch.jit.load(FILE)')}"
            ) from error
        raise ValueError(f"{path} is not a whole checkpoint file") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a dictionary, got {type(content).__name__}")
    return content


def _append_checksum(file: BinaryIO) -> None:
    """Store the checksum of everything before the zip comment in that comment."""
    file.flush()
    file.seek(-2, os.SEEK_END)
    if file.read(2) != b"\0\0":
        raise RuntimeError("torch.save no longer ends its zip with an empty comment")
    end = file.tell() - 2
    digest = _digest(file, end)
    file.seek(end)
    file.write(_COMMENT_LENGTH.to_bytes(2, "little") + _PREFIX + digest)
    file.flush()


def _verify_checksum(path: Path, *, required: bool) -> None:
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
