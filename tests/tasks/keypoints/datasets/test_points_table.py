import csv
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from visionlab.tasks.keypoints.datasets import points_text
from visionlab.tasks.keypoints.datasets.points_table import PointsTable, read_points

HEADER = "file_name\tPoint_0_X\tPoint_0_Y\tPoint_1_X\tPoint_1_Y\n"
LARGEST = float(np.finfo(np.float32).max)

coordinates = st.one_of(
    st.integers(-(2**31), 2**31),
    st.floats(-LARGEST, LARGEST, allow_nan=False),
    st.sampled_from(["", "nan", "NaN", " 7 ", "+3", "1e3", ".5", "5.", "-0"]),
)
names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\", exclude_categories=["Z", "C"]),
    min_size=1,
    max_size=12,
).filter(lambda name: name != "..")


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[object]]]:
    num_points = draw(st.integers(1, 4))
    rows = st.lists(coordinates, min_size=2 * num_points, max_size=2 * num_points)
    files = draw(st.lists(names, min_size=1, max_size=8, unique=True))
    return files, [draw(rows) for _ in files]


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def tab(folder: Path, *lines: str) -> PointsTable:
    path = write(folder / "points.csv", HEADER + "\n".join(lines) + "\n")
    return read_points(path, delimiter="\t")


def as_number(text: str) -> float:
    return float(text) if text.strip() else math.nan


def naive(path: Path, delimiter: str) -> tuple[list[str], np.ndarray]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file, delimiter=delimiter))[1:]
    found = []
    for row in rows:
        pairs = zip(row[1::2], row[2::2], strict=True)
        points = [(as_number(x), as_number(y)) for x, y in pairs]
        found.append([(math.nan, math.nan) if math.isnan(x + y) else (x, y) for x, y in points])
    return [row[0] for row in rows], np.array(found, np.float64).astype(np.float32)


def same_bits(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.shape == expected.shape and found.tobytes() == expected.tobytes()


def test_the_format_of_the_contest(tmp_path: Path) -> None:
    table = tab(tmp_path, "b.jpg\t1\t2\t3\t4", "a.jpg\t5\t6.5\t-7\t8")
    assert list(table.names) == ["b.jpg", "a.jpg"]
    assert list(table.point_names) == ["0", "1"]
    assert table.points.dtype == np.float32
    assert table.points.tolist() == [[[1, 2], [3, 4]], [[5, 6.5], [-7, 8]]]


def test_the_format_of_pandas(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", ",0,1,2,3\nLuis_21.jpg,45.0,98.0,47.0,106.0\n")
    table = read_points(path, delimiter=",")
    assert (list(table.names), list(table.point_names)) == (["Luis_21.jpg"], ["0", "1"])
    assert table.points.tolist() == [[[45, 98], [47, 106]]]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("Point_7_X,Point_7_Y,Point_3_X,Point_3_Y", ["7", "3"]),
        ("left_eye_x,left_eye_y,nose_x,nose_y", ["left_eye", "nose"]),
        ("x0,y0,x1,y1", ["0", "1"]),
        (" X1, Y1, X2, Y2", ["1", "2"]),
        ('"a,b_X","a,b_Y",0_X,0_Y', ["a,b", "0"]),
    ],
)
def test_columns_may_be_called_otherwise(
    tmp_path: Path, columns: str, expected: Sequence[str]
) -> None:
    path = write(tmp_path / "p.csv", f"name,{columns}\na.jpg,1,2,3,4\n")
    assert list(read_points(path, delimiter=",").point_names) == expected


def test_a_point_is_missing_if_one_of_its_coordinates_is(tmp_path: Path) -> None:
    table = tab(tmp_path, "a.jpg\t1\t\t3\t4", "b.jpg\tnan\t2\t \t", "c.jpg\t1\t2\tNaN\t4")
    known = ~np.isnan(table.points)
    assert known[..., 0].tolist() == [[False, True], [False, False], [True, False]]
    assert (known[..., 0] == known[..., 1]).all()
    assert table.points[0, 1].tolist() == [3, 4]


def test_one_point_is_enough(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "name,x0,y0\na.jpg,1,2\n")
    assert read_points(path, delimiter=",").points.tolist() == [[[1, 2]]]


@pytest.mark.parametrize(
    "text",
    [
        "n,x0,y0\na.jpg,1,2\nb.jpg,3,4",
        "n,x0,y0\r\na.jpg,1,2\r\nb.jpg,3,4\r\n",
        '\ufeff"n,m",x0,y0\na.jpg,1,2\n\n\nb.jpg,3,4\n\n',
        'n,x0,y0\n"a.jpg","1","2"\n"b.jpg",3,4\n',
        "n, x0, y0\n a.jpg , 1 , 2\nb.jpg,3,4\n",
    ],
)
def test_files_of_other_programs_are_read(tmp_path: Path, text: str) -> None:
    table = read_points(write(tmp_path / "p.csv", text), delimiter=",")
    assert list(table.names) == ["a.jpg", "b.jpg"]
    assert table.points.tolist() == [[[1, 2]], [[3, 4]]]


def test_a_name_may_be_quoted_and_have_a_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", 'n,x0,y0\n"sub/Lee, ""Ann"" é..jpg",1,2\n')
    assert list(read_points(path, delimiter=",").names) == ['sub/Lee, "Ann" é..jpg']


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables(), delimiter=st.sampled_from("\t,;"))
def test_what_is_written_is_read_and_equals_a_plain_reader(
    tmp_path: Path, table: tuple[list[str], list[list[object]]], delimiter: str
) -> None:
    files, rows = table
    path = tmp_path / "points.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        points = range(len(rows[0]) // 2)
        writer.writerow(
            ["file_name", *(f"Point_{point}_{axis}" for point in points for axis in "XY")]
        )
        writer.writerows([name, *row] for name, row in zip(files, rows, strict=True))
    expected_names, expected = naive(path, delimiter)
    found = read_points(path, delimiter=delimiter)
    again = read_points(path, delimiter=delimiter)
    assert expected_names == files == list(found.names) == list(again.names)
    assert same_bits(found.points, expected)
    assert same_bits(again.points, expected)
    assert list(found.point_names) == list(again.point_names) == [str(point) for point in points]


def test_every_float_is_the_nearest_float32_of_its_double(tmp_path: Path) -> None:
    texts = ["0.1", "16777217", "1.00000017881393432617187499", "3.4028235e38", "1e-46", "7.1e-46"]
    table = tab(tmp_path, *(f"{number}.jpg\t{text}\t0\t0\t0" for number, text in enumerate(texts)))
    assert table.points[:, 0, 0].tolist() == [float(np.float32(float(text))) for text in texts]


def test_blocks_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points_text, "_BLOCK", 10)
    table = tab(tmp_path, *(f"{row}.jpg\t{row}\t1\t2\t3" for row in range(7)))
    assert table.points[:, 0, 0].tolist() == list(range(7))
    assert list(table.names) == [f"{row}.jpg" for row in range(7)]
    path = tmp_path / "points.csv"
    header = points_text.read_header(path, delimiter="\t")
    blocks = list(points_text.read_blocks(path, header, delimiter="\t"))
    assert [len(files) for files, _ in blocks] == [2, 2, 2, 1]
    assert np.concatenate([points for _, points in blocks]).tolist() == table.points.tolist()


def test_the_points_are_read_only(tmp_path: Path) -> None:
    table = tab(tmp_path, "a.jpg\t1\t2\t3\t4")
    with pytest.raises(ValueError, match="read-only"):
        table.points[0] = 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b.jpg\t1\t2\t3", " must have 5 columns as line 1 has, got 4"),
        ("b.jpg\t1\t2\t3\t4\t", " must have 5 columns as line 1 has, got 6"),
        ("b.jpg,1,2,3,4", " must have 5 columns as line 1 has, got 1"),
        ("b.jpg\t1\t2\tx\t4", ", column 4 (Point_1_X) must be a number, or empty where the point "
         "is missing, got 'x'"),
        ("b.jpg\t1\t\tNA\t4", ", column 4 (Point_1_X) must be a number, or empty where the point "
         "is missing, got 'NA'"),
        ("b.jpg\t1_000\t2\t3\t4", ", column 2 (Point_0_X) must be a number, or empty where the "
         "point is missing, got '1_000'"),
        ("b.jpg\t1\t2,5\t3\t4", ", column 3 (Point_0_Y) must be a number, or empty where the point "
         "is missing, got '2,5'"),
        ("b.jpg\t1\t1-2\t3\t4", ", column 3 (Point_0_Y) must be a number, or empty where the point "
         "is missing, got '1-2'"),
        ("b.jpg\t1\t1 2\t3\t4", ", column 3 (Point_0_Y) must be a number, or empty where the point "
         "is missing, got '1 2'"),
        ("b.jpg\t1\t2\t3\tinf", ", column 5 (Point_1_Y) must be a finite number, got 'inf'"),
        ("b.jpg\t1\t\t3\t-Infinity", ", column 5 (Point_1_Y) must be a finite number, got "
         "'-Infinity'"),
        ("b.jpg\t1\t1e39\t3\t4", ", column 3 (Point_0_Y) must be a finite number, got '1e39'"),
        ("\t1\t2\t3\t4", ", column 1 must have a file name, got none"),
        ("\t\t\t\t", ", column 1 must have a file name, got none"),
        ("a.jpg\t1\t2\t3\t4", ", column 1 must have a file name of its own, got 'a.jpg' as in line "
         "2"),
        ("../b.jpg\t1\t2\t3\t4", ", column 1 must name a file among the images, got '../b.jpg'"),
        ("c/../b.jpg\t1\t2\t3\t4", ", column 1 must name a file among the images, got "
         "'c/../b.jpg'"),
        ("..\\b.jpg\t1\t2\t3\t4", ", column 1 must name a file among the images, got "
         "'..\\\\b.jpg'"),
        ("/b.jpg\t1\t2\t3\t4", ", column 1 must name a file among the images, got '/b.jpg'"),
        ("b\0.jpg\t1\t2\t3\t4", ", column 1 must name a file among the images, got 'b\\x00.jpg'"),
        ('"b.jpg\t1\t2\t3\t4', " must be CSV, got unexpected end of data"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    where = f"{tmp_path / 'points.csv'}: line 4"
    with pytest.raises(ValueError, match=f"^{re.escape(where + message)}$") as caught:
        tab(tmp_path, "a.jpg\t1\t2\t3\t4", "", line, "c.jpg\t1\t2\t3\t4")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["points.csv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": line 1 must name columns separated by ',', for the file name and for an x and a y "
         "of each point, got 1: ''"),
        ("n,x0\na,1\n", ": line 1 must name columns separated by ',', for the file name and for an "
         "x and a y of each point, got 2: 'n,x0'"),
        ("n,x0,y0,x1\na,1,2,3\n", ": line 1 must name columns separated by ',', for the file name "
         "and for an x and a y of each point, got 4: 'n,x0,y0,x1'"),
        ("n\tx0\ty0\na\t1\t2\n", ": line 1 must name columns separated by ',', for the file name "
         "and for an x and a y of each point, got 1: 'n\\tx0\\ty0'"),
        ("a.jpg,45.0,98.0\nb.jpg,1,2\n", ": line 1, columns 2 and 3 must name the x and the y of a "
         "point, for example Point_0_X and Point_0_Y, x0 and y0, or 0 and 1, got '45.0' and "
         "'98.0'; is the header missing?"),
        ("n,x0,y0,y1,x1\na,1,2,3,4\n", ": line 1, columns 4 and 5 must name the x and the y of a "
         "point, for example Point_1_X and Point_1_Y, x1 and y1, or 2 and 3, got 'y1' and 'x1'"),
        ("n,x0,x1,y0,y1\na,1,2,3,4\n", ": line 1, columns 2 and 3 must name the x and the y of a "
         "point, for example Point_0_X and Point_0_Y, x0 and y0, or 0 and 1, got 'x0' and 'x1'"),
        ("n,x0,y0,x0,y0\na,1,2,3,4\n", ": line 1 must name each point once, got '0' again"),
        ("n,x0,y0\n", " must have a line an image below its header, got none"),
        ("n,x0,y0\n\n\r\n", " must have a line an image below its header, got none"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "p.csv", text)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path) + message)}$"):
        read_points(path, delimiter=",")


def test_text_of_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b"n,x0,y0\nM\xfcller.jpg,1,2\n")
    with pytest.raises(ValueError, match=r": line 2 must be UTF-8, got b'M\\xfcller.jpg'$"):
        read_points(path, delimiter=",")
    path.write_bytes("n,x0,y0\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r": line 1 must be UTF-8, got b'\\xff"):
        read_points(path, delimiter=",")


def test_a_missing_file_and_a_wrong_delimiter_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.csv must be a table of points, found no"):
        read_points(tmp_path / "nowhere.csv", delimiter=",")
    path = write(tmp_path / "p.csv", "n,x0,y0\na,1,2\n")
    with pytest.raises(ValueError, match=r"^delimiter must be one character, got ', '$"):
        read_points(path, delimiter=", ")


def test_no_float_warning_and_the_state_of_numpy_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = np.geterr()
    with caplog.at_level(logging.WARNING):
        tab(tmp_path, "a.jpg\t1\t2\t3\t4")
    assert np.geterr() == before
    assert not caplog.records
