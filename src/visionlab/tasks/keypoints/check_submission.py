"""Strict check of a CSV file of keypoints before it is submitted.

    python -m visionlab.tasks.keypoints.check_submission submission.csv test_points.csv

The exit code is 0 if the file is valid and 1 otherwise.
"""

import argparse
import csv
import re
import reprlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from visionlab.files.problems import Problem, Report, print_report, report_problems
from visionlab.images.paths import header_size
from visionlab.images.pixels import UnsupportedImageError
from visionlab.tasks.keypoints.datasets.requested_points import read_requested, submission_header

_WHOLE = re.compile(r"-?[0-9]{1,18}")


def check(
    submission: Path, names: Sequence[str], *, num_requested: int, images: Path | None
) -> Report:
    """Check a submission against the list of requested points.

    Names are those of the images, in the order of the list, each once; points are only compared
    with the bounds of images if their folder is given.

    Raises:
        FileNotFoundError: the file or the folder does not exist.
        ValueError: the file is not CSV in UTF-8.
    """
    if not submission.is_file():
        raise FileNotFoundError(f"{submission} must be a submission, found no such file")
    if images is not None and not images.is_dir():
        raise FileNotFoundError(f"{images} must be a folder of images, found no such folder")
    columns = submission_header(num_requested)
    lines = islice(_lines(submission), 1, None)
    rows = [(number, cells[0] if cells else "") for number, cells in lines]
    problems = chain(
        _header_problems(submission, columns),
        _name_problems(rows, names),
        _cell_problems(submission, columns),
    )
    return report_problems(
        problems,
        summary=[f"{len(rows)} rows for {len(names)} images, {num_requested} points each"],
        unit="places",
        notes=[] if images is None else list(_outside(submission, names, num_requested, images)),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Check the files named on the command line, print the report and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m visionlab.tasks.keypoints.check_submission",
        description="Check a CSV file of keypoints before it is submitted.",
    )
    parser.add_argument("submission", type=Path, help="the CSV file")
    parser.add_argument("requested", type=Path, help="the list of images and requested points")
    parser.add_argument("--images", type=Path, help="their folder: count points outside of them")
    parser.add_argument("--num-points", type=int, help="number of points of the data set")
    options = parser.parse_args(argv)
    if options.num_points is not None and options.num_points < 1:
        parser.error(f"argument --num-points: must be >= 1, got {options.num_points}")

    def checked() -> Report:
        names, requested = read_requested(options.requested, num_points=options.num_points)
        num_requested = len(requested[0])
        return check(options.submission, names, num_requested=num_requested, images=options.images)

    return print_report(options.submission, checked)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each line, including empty ones."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for cells in reader:
                yield reader.line_num, cells
        except csv.Error as error:
            raise ValueError(f"{path}: line {reader.line_num} must be CSV, got {error}") from error
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} must be UTF-8, got other bytes after line {reader.line_num}"
            ) from error


def _header_problems(path: Path, columns: Sequence[str]) -> Iterator[Problem]:
    rule = f"the header must be {columns[0]},{columns[1]},{columns[2]},...,{columns[-1]}"
    _, header = next(_lines(path), (1, []))
    if len(header) != len(columns):
        yield rule, f"{len(header)} columns, must be {len(columns)}"
    for number, (found, column) in enumerate(zip(header, columns, strict=False), start=1):
        if found != column:
            yield rule, f"column {number}: {reprlib.repr(found)}, must be {column}"


def _name_problems(rows: Iterable[tuple[int, str]], names: Sequence[str]) -> Iterator[Problem]:
    places = {name: place for place, name in enumerate(names)}
    lines: dict[str, int] = {}
    before = ""
    for number, name in rows:
        where = f"line {number}: {name!r}"
        if name not in places:
            yield "each row must be for an image of the list", where
        elif name in lines:
            yield "each image must have one row only", f"{where}, as in line {lines[name]}"
        else:
            lines[name] = number
            if before and places[name] < places[before]:
                yield "rows must be in the order of the list", f"{where} comes after {before!r}"
            before = name
    for name in names:
        if name not in lines:
            yield "each image of the list must have a row", f"{name!r} has none"


def _cell_problems(path: Path, columns: Sequence[str]) -> Iterator[Problem]:
    for number, cells in islice(_lines(path), 1, None):
        if len(cells) != len(columns):
            yield f"a row must have {len(columns)} columns", f"line {number}: {len(cells)}"
            continue
        for column, cell in enumerate(cells[1:], start=2):
            if not _WHOLE.fullmatch(cell):
                got = f"line {number}, column {column}: {reprlib.repr(cell)}"
                yield "a coordinate must be a whole number", got


def _outside(path: Path, names: Sequence[str], num_requested: int, images: Path) -> Iterator[str]:
    wanted, num_points, num_outside, sizeless = frozenset(names), 0, 0, 0
    for _, cells in islice(_lines(path), 1, None):
        values = cells[1:]
        is_whole = len(values) == 2 * num_requested and all(map(_WHOLE.fullmatch, values))
        if not is_whole or cells[0] not in wanted:
            continue
        try:
            width, height = header_size(images / cells[0])
        except UnsupportedImageError:
            raise
        except ValueError:
            sizeless += 1
            continue
        x, y = map(int, values[::2]), map(int, values[1::2])
        num_points += num_requested
        num_outside += sum(
            not (0 <= a <= width and 0 <= b <= height) for a, b in zip(x, y, strict=True)
        )
    yield f"note: {num_outside} of {num_points} points lie outside their image"
    if sizeless:
        yield f"note: {sizeless} images cannot be read in {images}; their points are not counted"


if __name__ == "__main__":
    sys.exit(main())
