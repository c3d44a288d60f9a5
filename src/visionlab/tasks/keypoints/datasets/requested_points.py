"""The contest's list of requested points: a header, then lines of file name TAB [3, 17]."""

import csv
import json
import math
import re
import reprlib
from collections.abc import Iterator
from pathlib import Path

_COLUMNS = 2


def read_requested(path: Path, *, num_points: int | None) -> tuple[list[str], list[list[int]]]:
    """Return file names and the requested points of each image, in the order of the list.

    Columns are separated by TAB; their names do not matter. Points are counted from 0, and there
    are equally many for each image. Empty lines are ignored.

    Args:
        path: the file, UTF-8.
        num_points: number of points of the data set, or None if unknown.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a line is malformed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a list of points, found no such file")
    lines: dict[str, int] = {}
    requested: list[list[int]] = []
    for number, (name, points) in _rows(path):
        where = f"{path}: line {number}"
        _check_name(name, f"{where}, column 1")
        if name in lines:
            raise ValueError(
                f"{where}, column 1 must have a file name of its own, got {name!r} as in line "
                f"{lines[name]}"
            )
        lines[name] = number
        requested.append(_points(points, f"{where}, column 2", num_points=num_points))
        if len(requested[-1]) != len(requested[0]):
            raise ValueError(
                f"{where}, column 2 must request {len(requested[0])} points as line "
                f"{next(iter(lines.values()))} does, got {len(requested[-1])}"
            )
    if not lines:
        raise ValueError(f"{path} must have a line an image below its header, got none")
    return list(lines), requested


def submission_header(num_requested: int) -> list[str]:
    """Return the column names of a submission with a number of points per image."""
    axes = ((number, axis) for number in range(num_requested) for axis in "XY")
    return ["file_name", *(f"Point_M{number}_{axis}" for number, axis in axes)]


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each line below the header."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number > 1 and not line.strip(b" \r\n"):
                continue
            where = f"{path}: line {number}"
            cells = _cells(line.rstrip(b"\r\n"), where)
            if len(cells) != _COLUMNS:
                raise ValueError(
                    f"{where} must have {_COLUMNS} columns separated by TAB, a file name and a "
                    f"list of points, got {len(cells)}"
                )
            if number > 1:
                yield number, cells
            elif cells[1].startswith("["):
                raise ValueError(f"{where} must be a header, got {reprlib.repr(cells[1])}")


def _cells(line: bytes, where: str) -> list[str]:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} must be UTF-8, got {reprlib.repr(line)}") from error
    try:
        cells: list[str] = next(csv.reader([text], delimiter="\t", strict=True), [])
    except csv.Error as error:
        raise ValueError(f"{where} must be CSV, got {error}") from error
    return [cell.strip() for cell in cells]


def _check_name(name: str, where: str) -> None:
    if not name:
        raise ValueError(f"{where} must have a file name, got none")
    if name.startswith(("/", "\\")) or "\0" in name or ".." in re.split(r"[/\\]", name):
        raise ValueError(f"{where} must name a file among the images, got {name!r}")


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
