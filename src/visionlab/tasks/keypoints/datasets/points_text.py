"""Text tables of points: a header, then a line per image with file name and x, y, x, y, ..."""

import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visionlab.tasks.keypoints.datasets.named_rows import decode, read_cells, read_named_rows

Floats = NDArray[np.float32]
_BLOCK = 1 << 20  # numbers read at a time
_PLAIN = b"0123456789+-.eE"


@dataclass(frozen=True, kw_only=True)
class Header:
    """The first line of a table.

    Attributes:
        columns: column names; the first column holds the file names.
        point_names: K names.
    """

    columns: Sequence[str]
    point_names: Sequence[str]


def read_header(path: Path, *, delimiter: str) -> Header:
    """Return the header of a table.

    The columns of a point may be named `Point_7_X` and `Point_7_Y` (for point "7"), `nose_x` and
    `nose_y`, `x7` and `y7`, or, as in tables written by pandas, 14 and 15.

    Raises:
        ValueError: it does not name an x and a y for each point.
    """
    where = f"{path}: line 1"
    _, cells = next(read_cells(path, delimiter=delimiter), (1, [b""]))
    columns = [decode(cell, where).strip() for cell in cells]
    if len(columns) < 3 or len(columns) % 2 == 0:
        raise ValueError(
            f"{where} must name columns separated by {delimiter!r}, for the file name and for an x "
            f"and a y of each point, got {len(columns)}: {reprlib.repr(delimiter.join(columns))}"
        )
    pairs = zip(columns[1::2], columns[2::2], strict=True)
    names = [_point_name(x, y, number, where) for number, (x, y) in enumerate(pairs)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{where} must name each point once, got {twice!r} again")
    return Header(columns=columns, point_names=names)


def read_blocks(
    path: Path, header: Header, *, delimiter: str
) -> Iterator[tuple[list[str], Floats]]:
    """Yield file names and points, (B, K, 2) float32 as x, y, of some lines at a time.

    A number is float32(float(text)). An empty cell or `nan` makes both coordinates of the point
    NaN. Empty lines are ignored.

    Raises:
        ValueError: a line is malformed.
    """
    num_columns = len(header.columns)
    names: list[str] = []
    values = np.empty((max(1, _BLOCK // num_columns), num_columns - 1), np.float32)
    rows = read_named_rows(path, delimiter=delimiter, num_columns=num_columns, rule="as line 1 has")
    for number, name, cells in rows:
        values[len(names)] = _coordinates(cells, header, f"{path}: line {number}")
        names.append(name)
        if len(names) == len(values):
            yield names, _points(values)
            names = []
    if names:
        yield names, _points(values[: len(names)])


def _point_name(x: str, y: str, number: int, where: str) -> str:
    if (x, y) == (f"{2 * number}", f"{2 * number + 1}"):
        return str(number)
    if x[:-2] == y[:-2] != "" and (x[-2:].lower(), y[-2:].lower()) == ("_x", "_y"):
        return x[:-2].removeprefix("Point_")
    if x[1:] == y[1:] != "" and (x[:1].lower(), y[:1].lower()) == ("x", "y"):
        return x[1:]
    column = 2 * number + 2
    hint = "; is the header missing?" if _is_number(x.encode()) else ""
    raise ValueError(
        f"{where}, columns {column} and {column + 1} must name the x and the y of a point, for "
        f"example Point_{number}_X and Point_{number}_Y, x{number} and y{number}, or {2 * number} "
        f"and {2 * number + 1}, got {x!r} and {y!r}{hint}"
    )


def _coordinates(cells: Sequence[bytes], header: Header, where: str) -> Floats:
    """Return the coordinates of a line, (2K,), NaN where missing."""

    def refused(place: int, rule: str) -> ValueError:
        got = reprlib.repr(cells[place].strip().decode(errors="replace"))
        column = header.columns[place + 1]
        return ValueError(f"{where}, column {place + 2} ({column}) must be {rule}, got {got}")

    filled = cells
    if b"" in cells or b"".join(cells).translate(None, _PLAIN):
        # Python accepts 1_000 as a number
        filled = [cell.strip().replace(b"_", b"?") or b"nan" for cell in cells]
    try:
        with np.errstate(over="ignore"):
            values = np.fromiter(map(float, filled), dtype=np.float32, count=len(cells))
    except ValueError:
        wrong = next(place for place, cell in enumerate(filled) if not _is_number(cell))
        raise refused(wrong, "a number, or empty where the point is missing") from None
    infinite = np.isinf(values)
    if infinite.any():
        raise refused(int(infinite.argmax()), "a finite number")
    return values


def _is_number(cell: bytes) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _points(values: Floats) -> Floats:
    points = values.reshape(len(values), -1, 2).copy()
    points[np.isnan(points).any(axis=-1)] = np.nan
    return points
