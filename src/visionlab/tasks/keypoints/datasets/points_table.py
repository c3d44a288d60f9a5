"""Tables of points in images, with a cache."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from visionlab.tasks.keypoints.datasets import points_cache, points_text
from visionlab.tasks.keypoints.datasets.points_cache import PointsTable

_log = logging.getLogger(__name__)


def read_points(path: Path, *, delimiter: str) -> PointsTable:
    """Return a table of points: a header, then a line per image with file name, x, y, x, y, ...

    The content is cached beside the file, and read again if the file has changed or the cache is
    damaged; the values are bit-identical. A point is missing if one of its coordinates is empty or
    `nan`.

    Args:
        path: the file, UTF-8.
        delimiter: separator of the columns, one character.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a line is malformed.
    """
    if len(delimiter.encode()) != 1 or delimiter in '"\r\n':
        raise ValueError(f"delimiter must be one character, got {delimiter!r}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a table of points, found no such file")
    origin = points_cache.origin(path, delimiter=delimiter)
    table = _from_cache(path, origin)
    if table is None:
        table = _read(path, origin, delimiter)
    return table


def _from_cache(path: Path, origin: dict[str, Any]) -> PointsTable | None:
    cache = points_cache.cache_path(path)
    try:
        return points_cache.read_cache(cache, origin=origin)
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.warning("%s cannot be read (%s); %s is read anew", cache, error.strerror, path)
    except ValueError as error:
        _log.warning("%s is damaged (%s); %s is read anew", cache, error, path)
    return None


def _read(path: Path, origin: dict[str, Any], delimiter: str) -> PointsTable:
    """Read the text through a new cache, or directly if no cache can be written."""
    header = points_text.read_header(path, delimiter=delimiter)
    cache = points_cache.cache_path(path)
    blocks = points_text.read_blocks(path, header, delimiter=delimiter)
    _log.info("reading %s", path)
    try:
        points_cache.write_cache(cache, blocks, point_names=header.point_names, origin=origin)
    except OSError as error:
        _log.warning("%s cannot be written (%s); continuing without it", cache, error.strerror)
    else:
        table = _from_cache(path, origin)
        if table is not None:
            return table
    blocks = points_text.read_blocks(path, header, delimiter=delimiter)
    names, points = zip(*blocks, strict=True)
    joined = np.concatenate(points)
    joined.flags.writeable = False
    return PointsTable(
        names=[name for block in names for name in block],
        points=joined,
        point_names=header.point_names,
    )
