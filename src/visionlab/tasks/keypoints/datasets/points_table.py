"""Tables of points in images: text, and a cache beside it that is mapped into memory.

A cache holds the points (little-endian float32), then a JSON object with everything else, then a
tail with the length and the checksum of the JSON. It is written under a unique temporary name and
renamed, so killed processes leave no broken cache and concurrent ones do not interfere. A cache
must not be changed in place, because other processes may have mapped it.
"""

import json
import logging
import os
import struct
import time
import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from visionlab.tasks.keypoints.datasets.points_text import Floats, read_blocks, read_header

_log = logging.getLogger(__name__)
_VERSION = 1
_TAIL = struct.Struct("<8sQI")  # a mark, the length of the JSON, its CRC-32
_MARK = b"vlpoints"
_ABANDONED_S = 3600.0
_TICK_S = 0.02  # above the resolution of a file system's clock


@dataclass(frozen=True, kw_only=True)
class PointsTable:
    """Points of images.

    Attributes:
        names: N file names, in the order of the file.
        points: (N, K, 2) float32 as x, y in pixels of the original image, NaN where a point is
            missing; read-only, and usually memory-mapped.
        point_names: K names.
    """

    names: Sequence[str]
    points: Floats
    point_names: Sequence[str]


def read_points(path: Path, *, delimiter: str) -> PointsTable:
    """Return a table of points: a header, then a line per image with file name, x, y, x, y, ...

    The content is cached beside the file, and read again if the file has changed or the cache is
    damaged; the values are bit-identical. A point is missing if one of its coordinates is empty or
    `nan`. The file is UTF-8, the delimiter one character.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a line is malformed.
    """
    if len(delimiter.encode()) != 1 or delimiter in '"\r\n':
        raise ValueError(f"delimiter must be one character, got {delimiter!r}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a table of points, found no such file")
    origin = cache_origin(path, delimiter=delimiter)
    return _from_cache(path, origin) or _read(path, origin, delimiter)


def _from_cache(path: Path, origin: dict[str, Any]) -> PointsTable | None:
    cache = cache_path(path)
    try:
        return _read_cache(cache, origin=origin)
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.warning("%s cannot be read (%s); %s is read anew", cache, error.strerror, path)
    except ValueError as error:
        _log.warning("%s is damaged (%s); %s is read anew", cache, error, path)
    return None


def _read(path: Path, origin: dict[str, Any], delimiter: str) -> PointsTable:
    """Read the text through a new cache, or directly if no cache can be written."""
    header = read_header(path, delimiter=delimiter)
    cache = cache_path(path)
    _log.info("reading %s", path)
    blocks = read_blocks(path, header, delimiter=delimiter)
    try:
        _write_cache(cache, blocks, point_names=header.point_names, origin=origin)
    except OSError as error:
        _log.warning("%s cannot be written (%s); continuing without it", cache, error.strerror)
    else:
        if table := _from_cache(path, origin):
            return table
    blocks = read_blocks(path, header, delimiter=delimiter)
    names, points = zip(*blocks, strict=True)
    joined = np.concatenate(points)
    joined.flags.writeable = False
    return PointsTable(names=list(chain(*names)), points=joined, point_names=header.point_names)


def cache_path(path: Path) -> Path:
    """Return the path of the cache of a table, beside it."""
    return path.with_name(f"{path.name}.visionlab-cache")


def cache_origin(path: Path, *, delimiter: str) -> dict[str, Any]:
    """Return the properties of a table by which its cache is known to be current.

    A file that is changed twice within a tick of the clock has one modification time, so this waits
    until the file is at least a tick old.
    """
    found = path.stat()
    if abs(time.time() - found.st_mtime) < _TICK_S:
        time.sleep(_TICK_S)
        found = path.stat()
    return {
        "version": _VERSION,
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "delimiter": delimiter,
    }


def _write_cache(
    cache: Path,
    blocks: Iterable[tuple[list[str], Floats]],
    *,
    point_names: Sequence[str],
    origin: dict[str, Any],
) -> None:
    """Write a cache, replacing an old one atomically; an error leaves an old one untouched.

    Blocks are names and points (B, K, 2) float32 of some images at a time.
    """
    names: list[str] = []
    crc = 0
    aside = cache.with_name(f".{cache.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with aside.open("xb") as file:
            for block_names, points in blocks:
                data = np.ascontiguousarray(points, "<f4").data
                crc = zlib.crc32(data, crc)
                file.write(data)
                names += block_names
            content = {"origin": origin, "crc32": crc, "point_names": point_names, "names": names}
            text = json.dumps(content).encode()
            file.write(text)
            file.write(_TAIL.pack(_MARK, len(text), zlib.crc32(text)))
        aside.replace(cache)
    finally:
        aside.unlink(missing_ok=True)
    _remove_abandoned(cache)


def _read_cache(cache: Path, *, origin: dict[str, Any]) -> PointsTable | None:
    """Return the content of a cache, or None if it is outdated; a damaged one is a ValueError."""
    with cache.open("rb") as file:
        num_bytes = file.seek(0, os.SEEK_END) - _TAIL.size
        _check(num_bytes > 0, "it is cut short")
        file.seek(num_bytes)
        mark, length, crc = _TAIL.unpack(file.read())
        num_bytes -= length
        _check(mark == _MARK and num_bytes > 0, "its end is missing")
        file.seek(num_bytes)
        text = file.read(length)
        _check(zlib.crc32(text) == crc, "its names do not match their checksum")
        content = _parse(text)
        if content["origin"] != origin:
            return None
        shape = (len(content["names"]), len(content["point_names"]), 2)
        _check(num_bytes == 4 * shape[0] * shape[1] * 2, "it has another number of points")
        points = np.asarray(np.memmap(file, dtype="<f4", mode="r", shape=shape))
    _check(zlib.crc32(points.data) == content["crc32"], "its points do not match their checksum")
    return PointsTable(names=content["names"], points=points, point_names=content["point_names"])


def _parse(text: bytes) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(text)
    wanted = {"origin": dict, "crc32": int, "point_names": list, "names": list}
    is_whole = isinstance(content, dict) and all(
        isinstance(content.get(key), kind) for key, kind in wanted.items()
    )
    _check(is_whole, "an entry is missing")
    return content


def _check(is_right: bool, otherwise: str) -> None:
    if not is_right:
        raise ValueError(otherwise)


def _remove_abandoned(cache: Path) -> None:
    """Remove temporary files of killed processes, which have not been written to for an hour."""
    for aside in cache.parent.glob(f".{cache.name}.*.tmp"):
        try:
            if time.time() - aside.stat().st_mtime > _ABANDONED_S:
                aside.unlink()
        except OSError:  # removed by another process, or not permitted
            continue
