"""Rows of CSV files with boxes: columns by name or position."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from visionlab.files.documents import read_text
from visionlab.images.paths import SUFFIXES, forward_slashes
from visionlab.tasks.detection.datasets.raw_boxes import Corners, RawBox, annotated_size

# usual names of columns, in lower case without signs, by meaning
_NAMES = {
    "path": "path filename file image imagepath imagename imageid imagefile img imgpath imgname "
    "imgid filepath fileid",
    "x1": "x1 xmin left x bboxx bboxx1 bboxxmin bboxleft minx startx",
    "y1": "y1 ymin top y bboxy bboxy1 bboxymin bboxtop miny starty",
    "x2": "x2 xmax right bboxx2 bboxxmax bboxright maxx endx",
    "y2": "y2 ymax bottom bboxy2 bboxymax bboxbottom maxy endy",
    "width": "width w bboxwidth bboxw boxwidth",
    "height": "height h bboxheight bboxh boxheight",
    "class": "class classname label labelname category categoryname object objectname name classid "
    "labelid categoryid",
    "boxes": "bbox bboxes box boxes boundingbox boundingboxes boxesstring bboxstring",
}
_MEANINGS = {name: meaning for meaning, names in _NAMES.items() for name in names.split()}
_ORDER = ("x1", "y1", "x2", "y2", "class")  # of the columns after the path, without a header
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf", re.IGNORECASE)
_ONLY_CLASS = "object"  # where no column names one
_Columns = Mapping[str, Sequence[int]]  # numbers of the columns by meaning


class Row(NamedTuple):
    """A row of a file.

    Attributes:
        number: its line.
        path: the image as named there, with forward slashes.
        size_px: width and height of the image, or None if the file does not say.
        boxes: their number is the line.
    """

    number: int
    path: str
    size_px: tuple[int, int] | None
    boxes: Sequence[RawBox]


def check_columns(columns: Mapping[str, str]) -> None:
    """Check the names of columns by their meaning.

    Raises:
        ValueError: a meaning is unknown.
    """
    if unknown := [name for name in columns if name not in _NAMES]:
        raise ValueError(f"dataset.columns must be of {', '.join(_NAMES)}, got {unknown[0]}")


def read_rows(path: Path, *, columns: Mapping[str, str], box: str) -> list[Row]:
    """Return the rows of a file; `columns` and `box` are those of `BoxesCsv`.

    Raises:
        ValueError: a line is malformed.
    """
    rows, header = list[Row](), dict[str, list[int]]()
    for number, fields in lines(path):
        where = f"{path}: line {number}"
        if not rows and not header:
            header = _header(fields, columns, where)
            if header:
                num_columns = len(fields)
                continue
        if len(fields) == 1 and (header or fields[0].lower().endswith(SUFFIXES)):
            rows.append(Row(number, forward_slashes(fields[0]), None, []))
            continue
        if header and len(fields) != num_columns:
            raise ValueError(f"{where} must have {num_columns} columns, got {len(fields)}")
        rows.append(_row(number, fields, header or _positions(fields, where), box, where))
    return rows


def lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields of each non-empty line; comma, semicolon or tab divide them.

    Raises:
        ValueError: the file is not UTF-8, or a line is not CSV.
    """
    text = read_text(path)
    start = next(filter(str.strip, text.splitlines()), "")
    delimiter = max(",;\t", key=start.count)
    reader = csv.reader(io.StringIO(text), strict=True, delimiter=delimiter)
    try:
        for fields in reader:
            if fields:
                yield reader.line_num, [field.strip() for field in fields]
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num} must be CSV, got {error}") from error


def _header(fields: Sequence[str], columns: Mapping[str, str], where: str) -> dict[str, list[int]]:
    """Return the columns that a header names, or none if the line is not a header.

    Raises:
        ValueError: a column that is needed is missing.
    """
    missing = [name for name in columns.values() if name not in fields]
    if missing:
        raise ValueError(f"{where} must name {missing[0]} of dataset.columns, got {fields}")
    given = {name: meaning for meaning, name in columns.items()}
    found: dict[str, list[int]] = {}
    for place, field in enumerate(fields):
        usual = _MEANINGS.get(re.sub(r"[^a-z0-9]", "", field.lower()))
        meaning = given.get(field) or (usual if usual not in columns else None)
        if meaning:
            found.setdefault(meaning, []).append(place)
    if not columns and not ("path" in found and len(found) > 1):
        return {}
    needs = ["path"] if "boxes" in found else ["path", "x1", "y1"]
    needs += [] if "boxes" in found or {"x2", "y2"} <= found.keys() else ["width", "height"]
    for name in needs:
        if name not in found:
            raise ValueError(
                f"{where} must name the column of {name}, got {', '.join(fields)}; dataset.columns "
                "gives other names"
            )
    once = [] if "boxes" in found or "x2" in found else ["width", "height"]
    counts = {name: len(found[name]) for name in [*_ORDER, *once] if name in found}
    twice = "path" if len(found["path"]) > 1 else max(counts, key=counts.__getitem__, default="")
    if len(found["path"]) > 1 or len({*counts.values()}) > 1:
        got = ", ".join(fields[place] for place in found[twice])
        raise ValueError(
            f"{where} must name each column once a box, got {got} for {twice}; "
            f"dataset.columns={{{twice}: NAME}} chooses one"
        )
    return found


def _positions(fields: Sequence[str], where: str) -> _Columns:
    """Return the columns of a line without a header."""
    has_numbers = not all(fields[1:5]) or any(map(_NUMBER.fullmatch, fields[1:5]))
    if len(fields) < 6 or len(fields) % 5 != 1 or not has_numbers:
        hint = "if it is a header, dataset.columns names its columns" if len(fields) > 1 else ""
        got = f"got {','.join(fields)!r}{hint and '; '}{hint}"
        raise ValueError(f"{where} must be path,x1,y1,x2,y2,class_name, {got}")
    return {"path": [0]} | {
        name: list(range(place, len(fields), 5)) for place, name in enumerate(_ORDER, start=1)
    }


def _row(number: int, fields: Sequence[str], columns: _Columns, box: str, where: str) -> Row:
    path = forward_slashes(fields[columns["path"][0]])
    if not path:
        raise ValueError(f"{where} must name an image, got {','.join(fields)!r}")
    cells = {name: [fields[place] for place in places] for name, places in columns.items()}
    size_px = None
    if "boxes" in cells or "x2" in cells:
        size_px = _size(cells, where)
    if "boxes" in cells:
        found = _many(cells["boxes"][0], box, where)
        names = cells.get("class", [_ONLY_CLASS]) * len(found)
    else:
        found, names = _named(cells, box, where)
    for name in names:
        if not name:
            raise ValueError(f"{where} must have a class_name, got none")
    boxes = [RawBox(number, name, each) for name, each in zip(names, found, strict=True)]
    return Row(number, path, size_px, boxes)


def _size(cells: Mapping[str, Sequence[str]], where: str) -> tuple[int, int] | None:
    """Return the size of an image, if beside its boxes the file has it."""
    if not ("width" in cells and "height" in cells and cells["width"][0] and cells["height"][0]):
        return None
    sides = [cells["width"][0], cells["height"][0]]
    return annotated_size(*_numbers(sides, "width,height", where))


def _named(
    cells: Mapping[str, Sequence[str]], box: str, where: str
) -> tuple[list[Corners], list[str]]:
    """Return the boxes of a row and their classes; a group of empty cells has no box."""
    far = ("x2", "y2") if "x2" in cells else ("width", "height")
    is_size = "x2" not in cells or box == "xywh"
    names = cells.get("class", [_ONLY_CLASS] * len(cells["x1"]))
    boxes, kept = list[Corners](), list[str]()
    for name, *values in zip(names, *(cells[key] for key in ("x1", "y1", *far)), strict=True):
        if any(values) or (name and "class" in cells):
            x1, y1, x2, y2 = _numbers(values, f"x1,y1,{','.join(far)}", where)
            boxes.append((x1, y1, x1 + x2, y1 + y2) if is_size else (x1, y1, x2, y2))
            kept.append(name)
    return boxes, kept


def _many(cell: str, box: str, where: str) -> list[Corners]:
    """Return the boxes in a cell such as "[1, 2, 3, 4]" or "1 2 3 4;5 6 7 8"."""
    if re.search(r"[^\s,;()\[\]]", _NUMBER.sub("", cell)):
        if cell.lower() in ("none", "no_box", "null"):
            return []
        raise ValueError(f"{where} must have four numbers for each box, got {cell!r:.60}")
    values = [float(value) for value in _NUMBER.findall(cell)]
    if len(values) % 4:
        raise ValueError(f"{where} must have four numbers for each box, got {cell!r:.60}")
    corners = zip(*(values[place::4] for place in range(4)), strict=True)
    if box == "xywh":
        return [(x, y, x + width, y + height) for x, y, width, height in corners]
    return list(corners)


def _numbers(cells: Sequence[str], names: str, where: str) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError as error:
        raise ValueError(f"{where} must have numbers {names}, got {','.join(cells)!r}") from error
