"""The contest's list of requested points: a header, then lines of file name TAB [3, 17]."""

import json
import math
import reprlib
from pathlib import Path

from visionlab.tasks.keypoints.datasets.named_rows import decode, read_cells, read_named_rows

_RULE = "separated by TAB, a file name and a list of points"


def read_requested(path: Path, *, num_points: int | None) -> tuple[list[str], list[list[int]]]:
    """Return file names and the requested points of each image, in the order of the list.

    Columns are separated by TAB; their names do not matter. Points are counted from 0, below
    `num_points` if that is known, and there are equally many for each image. Empty lines are
    ignored. The file is UTF-8.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a line is malformed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a list of points, found no such file")
    _, (*_, last) = next(read_cells(path, delimiter="\t"), (1, [b""]))
    if last.strip().startswith(b"["):
        got = reprlib.repr(last.decode(errors="replace").strip())
        raise ValueError(f"{path}: line 1 must be a header, got {got}")
    requested: dict[str, list[int]] = {}
    for number, name, (cell,) in read_named_rows(path, delimiter="\t", num_columns=2, rule=_RULE):
        where = f"{path}: line {number}, column 2"
        points = _points(decode(cell, where).strip(), where, num_points=num_points)
        if not requested:
            first, num_requested = number, len(points)
        if len(points) != num_requested:
            raise ValueError(
                f"{where} must request {num_requested} points as line {first} does, "
                f"got {len(points)}"
            )
        requested[name] = points
    return list(requested), list(requested.values())


def submission_header(num_requested: int) -> list[str]:
    """Return the column names of a submission with a number of points per image."""
    axes = ((number, axis) for number in range(num_requested) for axis in "XY")
    return ["file_name", *(f"Point_M{number}_{axis}" for number, axis in axes)]


def _points(cell: str, where: str, *, num_points: int | None) -> list[int]:
    try:
        points = json.loads(cell)
    except (ValueError, RecursionError):
        points = None
    if not isinstance(points, list):
        raise ValueError(f"{where} must be a list such as [3, 17], got {reprlib.repr(cell)}")
    if not points:
        raise ValueError(f"{where} must request points, got none")
    end = math.inf if num_points is None else num_points
    wrong = [point for point in points if type(point) is not int or not 0 <= point < end]
    if wrong:
        raise ValueError(
            f"{where} must hold whole numbers in [0, {end}), got {reprlib.repr(wrong[0])}"
        )
    return points
