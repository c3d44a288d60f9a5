import csv
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visionlab.tasks.keypoints.check_submission import check
from visionlab.tasks.keypoints.records import KeypointSamples
from visionlab.tasks.keypoints.submission import PointsSubmission

POINTS = torch.tensor(
    [
        [[1.6, 2.4], [-1.6, -0.4], [5.0, 6.0]],
        [[10.5, 11.5], [-0.5, -1.5], [0.2, 99.9]],
    ]
)


def make_split(
    names: Sequence[str] = ("b.jpg", "a.jpg"),
    *,
    keys: Sequence[int] = (7, 3),
    requested: Sequence[Sequence[int]] | None = None,
    num_points: int = 3,
) -> Any:
    points = np.full((len(names), num_points, 2), np.nan, np.float32)
    return SimpleNamespace(
        samples=KeypointSamples(
            sources=[Path(name) for name in names],
            names=names,
            keys=torch.tensor(keys),
            points=points,
            requested=requested,
        )
    )


def samples(**changes: Any) -> dict[str, Tensor]:
    return {"keys": torch.tensor([7, 3]), "points": POINTS} | changes


def written(
    folder: Path,
    found: dict[str, Tensor],
    split: Any,
    *,
    rounding: Literal["nearest", "truncated"] = "nearest",
    num_points: int = 3,
) -> str:
    path = PointsSubmission(categories=dict.fromkeys(range(num_points), ""), rounding=rounding)(
        folder, "test", found, split
    )
    assert path == folder / "test_submission.csv"
    return path.read_bytes().decode()


def test_all_points_are_rounded_by_eye(tmp_path: Path) -> None:
    assert written(tmp_path / "new", samples(), make_split()) == (
        "file_name,Point_M0_X,Point_M0_Y,Point_M1_X,Point_M1_Y,Point_M2_X,Point_M2_Y\n"
        "b.jpg,2,2,-2,0,5,6\n"
        "a.jpg,10,12,0,-2,0,100\n"
    )


def test_points_are_truncated_towards_0(tmp_path: Path) -> None:
    text = written(tmp_path, samples(), make_split(), rounding="truncated")
    assert text.splitlines()[1:] == ["b.jpg,1,2,-1,0,5,6", "a.jpg,10,11,0,-1,0,99"]


def test_points_come_as_each_image_asks_for_them(tmp_path: Path) -> None:
    text = written(tmp_path, samples(), make_split(requested=[[2, 0], [1, 1]]))
    assert text.splitlines() == [
        "file_name,Point_M0_X,Point_M0_Y,Point_M1_X,Point_M1_Y",
        "b.jpg,5,6,2,2",
        "a.jpg,0,-2,0,-2",
    ]


def test_rows_follow_the_list_and_points_their_keys(tmp_path: Path) -> None:
    split = make_split(requested=[[2], [0]])
    text = written(tmp_path, samples(), split)
    assert text.splitlines()[1:] == ["b.jpg,5,6", "a.jpg,10,12"]
    shuffled = samples(keys=torch.tensor([3, 7]), points=POINTS.flip(0))
    assert written(tmp_path, shuffled, split) == text


def test_names_may_hold_anything(tmp_path: Path) -> None:
    names = ['say "b", c.jpg', "gesicht ä.jpg"]
    text = written(tmp_path, samples(), make_split(names))
    assert [row[0] for row in csv.reader(text.splitlines())][1:] == names


@given(
    num_images=st.integers(1, 6),
    num_points=st.integers(1, 5),
    num_requested=st.integers(1, 4),
    rounding=st.sampled_from(["nearest", "truncated"]),
    data=st.data(),
)
def test_the_checker_and_csv_read_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    num_images: int,
    num_points: int,
    num_requested: int,
    rounding: Literal["nearest", "truncated"],
    data: st.DataObject,
) -> None:
    coordinate = st.floats(-2000, 2000, width=32) | st.integers(-9, 9).map(lambda n: n / 2)
    flat = data.draw(
        st.lists(
            coordinate,
            min_size=num_images * num_points * 2,
            max_size=num_images * num_points * 2,
        )
    )
    points = torch.tensor(flat).reshape(num_images, num_points, 2)
    row = st.lists(st.integers(0, num_points - 1), min_size=num_requested, max_size=num_requested)
    requested = data.draw(st.none() | st.lists(row, min_size=num_images, max_size=num_images))
    keys = data.draw(st.permutations(range(100, 100 + num_images)))
    found_in = data.draw(st.permutations(range(num_images)))
    names = [f"{number}, it.jpg" for number in data.draw(st.permutations(range(num_images)))]
    folder = tmp_path_factory.mktemp("submission")
    found = {"keys": torch.tensor(keys)[found_in], "points": points[found_in]}
    split = make_split(names, keys=keys, requested=requested, num_points=num_points)
    text = written(folder, found, split, rounding=rounding, num_points=num_points)
    report = check(
        folder / "test_submission.csv",
        names,
        num_requested=num_points if requested is None else num_requested,
        images=None,
    )
    assert report.is_valid, list(report.lines())
    rows = list(csv.reader(text.splitlines()))[1:]
    turn = round if rounding == "nearest" else math.trunc  # Python's round: halves to even too
    for place, (name, *cells) in enumerate(rows):
        numbers = range(num_points) if requested is None else requested[place]
        wanted = [turn(value) for number in numbers for value in points[place, number].tolist()]
        assert (name, list(map(int, cells))) == (names[place], wanted)


def test_an_old_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    written(tmp_path, samples(), make_split())
    written(tmp_path, samples(), make_split(requested=[[0], [0]]))
    assert [each.name for each in tmp_path.iterdir()] == ["test_submission.csv"]


def test_points_that_are_not_requested_do_not_matter(tmp_path: Path) -> None:
    points = POINTS.clone()
    points[0, 1] = torch.nan
    text = written(tmp_path, samples(points=points), make_split(requested=[[2], [1]]))
    assert text.splitlines()[1:] == ["b.jpg,5,6", "a.jpg,0,-2"]


@pytest.mark.parametrize(
    ("changes", "requested", "message"),
    [
        (
            {"keys": torch.tensor([7, 4])},
            None,
            " must get each of 2 images once, got 2, 1 missing and 1 unknown",
        ),
        (
            {"keys": torch.tensor([7, 7])},
            None,
            " must get each of 2 images once, got 2, 1 missing and 0 unknown",
        ),
        (
            {"keys": torch.tensor([7]), "points": POINTS[:1]},
            None,
            " must get each of 2 images once, got 1, 1 missing and 0 unknown",
        ),
        (
            {"keys": torch.tensor([7, 3, 3]), "points": POINTS[[0, 1, 1]]},
            None,
            " must get each of 2 images once, got 3, 0 missing and 0 unknown",
        ),
        (
            {"keys": torch.tensor([7])},
            None,
            r" must get points of shape \(1, 3, 2\), got \(2, 3, 2\)",
        ),
        (
            {"points": POINTS[:, :2]},
            None,
            r" must get points of shape \(2, 3, 2\), got \(2, 2, 2\)",
        ),
        *(
            (
                {"points": torch.where(POINTS == 11.5, wrong, POINTS)},
                requested,
                " must get finite points, got others for a.jpg",
            )
            for wrong in (torch.nan, torch.inf, -torch.inf)
            for requested in (None, [[2], [0]])
        ),
        ({}, [[0], [3]], r" must get requested points in \[0, 3\), got 0 to 3"),
        ({}, [[0], [-1]], r" must get requested points in \[0, 3\), got -1 to 0"),
        (
            {},
            [[0], [1, 2]],
            r" must get equally many requested points in each of 2 images, got \[1, 2\] in 2",
        ),
        (
            {},
            [[0]],
            r" must get equally many requested points in each of 2 images, got \[1\] in 1",
        ),
        (
            {},
            [[], []],
            r" must get equally many requested points in each of 2 images, got \[0\] in 2",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path,
    changes: dict[str, Tensor],
    requested: Sequence[Sequence[int]] | None,
    message: str,
) -> None:
    path = tmp_path / "test_submission.csv"
    with pytest.raises(ValueError, match=f"^{path}{message}$"):
        written(tmp_path, samples(**changes), make_split(requested=requested))
    assert not list(tmp_path.iterdir())


def test_images_of_one_key_cannot_be_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must get each of 2 images once, got 2, 0 missing"):
        written(tmp_path, samples(keys=torch.tensor([7, 7])), make_split(keys=(7, 7)))


def test_an_unknown_rounding_is_named(tmp_path: Path) -> None:
    rounding: Any = "up"
    with pytest.raises(ValueError, match=r"^rounding must be one of nearest, truncated, got 'up'$"):
        PointsSubmission(categories=dict.fromkeys(range(3), ""), rounding=rounding)
