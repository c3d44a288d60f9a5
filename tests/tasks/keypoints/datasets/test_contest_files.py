import csv
import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from visionlab.tasks.keypoints.datasets.contest_files import main, spread, write_contest
from visionlab.tasks.keypoints.datasets.face_drawing import draw_face
from visionlab.tasks.keypoints.datasets.face_points import LINES
from visionlab.tasks.keypoints.datasets.face_shapes import MEAN

SIZES = {"num_train": 5, "num_test": 3, "num_points": 68, "num_asked": 30, "seed": 0}


def written(folder: Path, **changes: int) -> Path:
    write_contest(folder, **(SIZES | changes))
    return folder


def rows_of(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file, delimiter="\t")
    return header, rows


def points_of(row: list[str]) -> np.ndarray[Any, Any]:
    return np.array([int(cell) for cell in row[1:]]).reshape(-1, 2)


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("contest") / "new", num_points=971)


def test_the_files_are_those_of_the_contest(contest: Path) -> None:
    files = {path.relative_to(contest).as_posix() for path in contest.rglob("*.*")}
    assert files == {
        *("train/landmarks.csv", "test/test_points.csv", "test/truth.csv"),
        *(f"train/images/{number:06d}.jpg" for number in range(5)),
        *(f"test/images/{number:06d}.jpg" for number in range(5, 8)),
    }


@pytest.mark.parametrize(
    ("table", "keys"), [("train/landmarks.csv", range(5)), ("test/truth.csv", range(5, 8))]
)
def test_tables_have_a_line_an_image_with_all_points(
    contest: Path, table: str, keys: range
) -> None:
    header, rows = rows_of(contest / table)
    assert len(header) == 1943
    assert header[:5] == ["file_name", "Point_0_X", "Point_0_Y", "Point_1_X", "Point_1_Y"]
    assert header[-1] == "Point_970_Y"
    assert [row[0] for row in rows] == [f"{key:06d}.jpg" for key in keys]
    for key, row in zip(keys, rows, strict=True):
        exact = spread(971) @ draw_face(key, seed=0)[1]
        assert np.abs(points_of(row) - exact).max() <= 0.5
        assert np.abs((points_of(row) - exact).mean()) < 0.05  # rounded, not cut off


def test_images_are_the_drawings(contest: Path) -> None:
    for key, part in ((0, "train"), (4, "train"), (5, "test")):
        with Image.open(contest / part / "images" / f"{key:06d}.jpg") as image:
            assert image.format == "JPEG"
            difference = np.asarray(image).astype(float) - draw_face(key, seed=0)[0]
        assert np.abs(difference).mean() < 8


def test_each_test_image_asks_for_other_points(contest: Path) -> None:
    header, rows = rows_of(contest / "test" / "test_points.csv")
    assert header == ["file_name", "point_index_list"]
    assert [row[0] for row in rows] == [f"{key:06d}.jpg" for key in range(5, 8)]
    asked = [json.loads(points) for _, points in rows]
    assert rows[0][1] == str(asked[0])
    for points in asked:
        assert len(set(points)) == len(points) == 30
        assert set(points) <= set(range(971))
    assert len({frozenset(points) for points in asked}) == 3
    assert max(max(points) for points in asked) > 900
    assert any(points != sorted(points) for points in asked)


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    folders = [written(tmp_path / name, num_points=10, num_asked=4) for name in "ab"]
    other = written(tmp_path / "c", num_points=10, num_asked=4, seed=1)
    files = sorted(path.relative_to(folders[0]) for path in folders[0].rglob("*.*"))
    contents = [[(folder / file).read_bytes() for file in files] for folder in (*folders, other)]
    assert contents[0] == contents[1]
    assert not set(contents[0]) & set(contents[2])


def test_68_points_are_the_68(tmp_path: Path) -> None:
    _, rows = rows_of(written(tmp_path) / "train" / "landmarks.csv")
    assert np.abs(points_of(rows[2]) - draw_face(2, seed=0)[1]).max() <= 0.5


def walked(num_points: int) -> list[tuple[float, float]]:
    """Return points at equal steps along the lines of the mean face, one small piece a time."""
    pieces = [
        (tuple(MEAN[a, :2].tolist()), tuple(MEAN[b, :2].tolist()))
        for line in LINES
        for a, b in pairwise(line)
    ]
    step = sum(math.dist(*piece) for piece in pieces) / (num_points - 1)
    found = []
    for number in range(num_points):
        left = number * step
        for start, end in pieces:
            length = math.dist(start, end)
            if left <= length + 1e-12:
                break
            left -= length
        share = min(left / length, 1.0)
        found.append(
            (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))
        )
    return found


@given(st.integers(2, 1200).filter(lambda count: count != 68))
def test_points_are_spread_evenly_along_the_lines(num_points: int) -> None:
    weights = spread(num_points)
    assert weights.shape == (num_points, 68)
    assert weights.min() >= 0.0
    assert weights.sum(axis=1) == pytest.approx(np.ones(num_points))
    found, expected = weights @ MEAN[:68, :2], np.array(walked(num_points))
    # at the end of a line, the start of the next is as far along
    assert (np.abs(found - expected).max(axis=1) > 1e-6).sum() <= len(LINES)


def test_two_points_are_the_first_and_the_last() -> None:
    assert np.flatnonzero(spread(2)[0]).tolist() == [0]
    assert spread(2)[1].argmax() == 60
    assert spread(2)[1, 60] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train": 0}, "num_train must be >= 1, got 0"),
        ({"num_test": -1}, "num_test must be >= 1, got -1"),
        ({"num_points": 1}, "num_points must be >= 2, got 1"),
        ({"num_asked": 0}, "num_asked must be >= 1, got 0"),
        ({"num_asked": 69}, "num_asked must be <= num_points=68, got 69"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
    ],
)
def test_wrong_numbers_are_refused(tmp_path: Path, changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        written(tmp_path / "new", **changes)
    assert not (tmp_path / "new").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(ValueError, match=f"^the folder must be new or empty, got {tmp_path}$"):
        written(tmp_path)
    with pytest.raises(ValueError, match=r"^the folder must be new or empty, got .*kept$"):
        written(tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_an_empty_folder_is_filled_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--num-train", "2", "--num-test", "1", "--num-points", "9", "--num-asked", "3"]
    assert main([str(tmp_path), *options, "--seed", "4"]) == 0
    header, rows = rows_of(tmp_path / "train" / "landmarks.csv")
    assert (len(header), len(rows)) == (19, 2)
    assert np.abs(points_of(rows[1]) - spread(9) @ draw_face(1, seed=4)[1]).max() <= 0.5
    assert main([str(tmp_path), *options]) == 1
    assert capsys.readouterr().err == f"the folder must be new or empty, got {tmp_path}\n"


@pytest.mark.integration
def test_it_runs_as_a_module(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "visionlab.tasks.keypoints.datasets.contest_files",
        str(tmp_path),
    ]
    result = subprocess.run(
        [*command, "--num-test", "0"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "num_test must be >= 1, got 0\n"
