"""Rows of text tables whose first column names an image."""

import csv
import re
import reprlib
from collections.abc import Iterator
from pathlib import Path

_BOM = b"\xef\xbb\xbf"


def read_named_rows(
    path: Path, *, delimiter: str, num_columns: int, rule: str
) -> Iterator[tuple[int, str, list[bytes]]]:
    """Yield line number, file name and other cells of each row below the header.

    Messages give `rule` as the reason why every line of the UTF-8 file has `num_columns` columns.

    Raises:
        ValueError: a line is malformed, a name is repeated, or there is no row.
    """
    lines: dict[str, int] = {}
    for number, cells in read_cells(path, delimiter=delimiter):
        where = f"{path}: line {number}"
        if len(cells) != num_columns:
            raise ValueError(f"{where} must have {num_columns} columns {rule}, got {len(cells)}")
        name = decode(cells[0], where).strip()
        if number == 1:
            continue
        _check_name(name, f"{where}, column 1")
        if name in lines:
            raise ValueError(
                f"{where}, column 1 must have a file name of its own, got {name!r} as in line "
                f"{lines[name]}"
            )
        lines[name] = number
        yield number, name, cells[1:]
    if not lines:
        raise ValueError(f"{path} must have a line an image below its header, got none")


def read_cells(path: Path, *, delimiter: str) -> Iterator[tuple[int, list[bytes]]]:
    """Yield number and cells of each line; empty lines below the first are left out.

    Raises:
        ValueError: a line is not CSV.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(_BOM)
            elif not line.strip(b" \r\n"):
                continue
            yield number, _split(line.rstrip(b"\r\n"), delimiter, f"{path}: line {number}")


def decode(cell: bytes, where: str) -> str:
    """Return text; a cell that is not UTF-8 raises a ValueError."""
    try:
        return cell.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} must be UTF-8, got {reprlib.repr(cell)}") from error


def _split(line: bytes, delimiter: str, where: str) -> list[bytes]:
    if b'"' not in line:
        return line.split(delimiter.encode())
    try:
        fields = next(csv.reader([decode(line, where)], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ValueError(f"{where} must be CSV, got {error}") from error
    return [field.encode() for field in fields]


def _check_name(name: str, where: str) -> None:
    if not name:
        raise ValueError(f"{where} must have a file name, got none")
    if name.startswith(("/", "\\")) or "\0" in name or ".." in re.split(r"[/\\]", name):
        raise ValueError(f"{where} must name a file among the images, got {name!r}")
