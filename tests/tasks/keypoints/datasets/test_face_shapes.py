import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionlab.tasks.keypoints.datasets.face_points import EYES, LINES, MIRROR
from visionlab.tasks.keypoints.datasets.face_shapes import (
    CHANGES,
    MEAN,
    PARTS,
    Floats,
    Pose,
    project,
    shape,
)

OPEN = (0.0, 0.0)
FRONTAL = Pose(yaw=0.0, pitch=0.0, roll=0.0, eye_px=100.0, centre=(150.0, 160.0))
weights_of_changes = st.fixed_dictionaries({name: st.floats(-1.0, 1.0) for name in CHANGES})
lids_shut = st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
angles = st.floats(-0.6, 0.6)


def neutral(pose: Pose = FRONTAL) -> Floats:
    return project(shape({}, lids=OPEN), pose)[:68]


def test_a_frontal_face_is_its_mirror_with_the_points_permuted() -> None:
    points = neutral()
    mirrored = points * [-1.0, 1.0] + [300.0, 0.0]
    assert mirrored[list(MIRROR)] == pytest.approx(points)
    assert np.abs(mirrored - points).max() > 100.0


@given(weights_of_changes, lids_shut, angles, angles, angles)
def test_a_mirrored_head_has_the_mirrored_points(
    weights: dict[str, float], lids: tuple[float, float], yaw: float, pitch: float, roll: float
) -> None:
    pose = Pose(yaw=yaw, pitch=pitch, roll=roll, eye_px=40.0, centre=(70.0, 55.0))
    other = Pose(yaw=-yaw, pitch=pitch, roll=-roll, eye_px=40.0, centre=(50.0, 55.0))
    brows = {"left_brow": weights["right_brow"], "right_brow": weights["left_brow"]}
    points = project(shape(weights, lids=lids), pose)[:68]
    others = project(shape(weights | brows, lids=lids[::-1]), other)[:68]
    mirrored = points * [-1.0, 1.0] + [120.0, 0.0]
    assert mirrored[list(MIRROR)] == pytest.approx(others, abs=1e-9)


def test_the_eyes_are_as_far_apart_as_told_and_the_box_is_where_told() -> None:
    points = neutral()
    left, right = (points[list(eye)].mean(axis=0) for eye in EYES)
    assert right - left == pytest.approx([100.0, 0.0], abs=1.0)
    assert (points.min(axis=0) + points.max(axis=0)) / 2 == pytest.approx([150.0, 160.0])


def test_an_upright_face_has_its_parts_in_order() -> None:
    x, y = neutral().T
    brows, eyes, nose, mouth, chin = y[17:27], y[36:48], y[31:36], y[48:68], y[8]
    assert brows.max() < eyes.min()
    assert eyes.max() < nose.min()
    assert nose.max() < mouth.min()
    assert mouth.max() < chin
    assert y[30] < y[33]
    for line in ((*range(17),), (*range(17, 27),), (*range(31, 36),), (*range(48, 55),)):
        assert (np.diff(x[list(line)]) > 0).all()  # from the picture's left to its right
    for line in ((36, 37, 38, 39, 42, 43, 44, 45), (41, 40, 47, 46), (60, 61, 62, 63, 64)):
        assert (np.diff(x[list(line)]) > 0).all()
    assert (np.diff(y[27:31]) > 0).all()
    assert (y[:8] < y[1:9]).all()


@given(weights_of_changes, lids_shut)
def test_no_face_is_turned_inside_out(weights: dict[str, float], lids: tuple[float, float]) -> None:
    weights["open"] = abs(weights["open"])
    x, y = project(shape(weights, lids=lids), FRONTAL)[:68].T
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46), (61, 67), (62, 66), (51, 57)):
        assert y[upper] < y[lower]
    for brow, eye in ((17, 36), (19, 37), (20, 38), (21, 39), (22, 42), (24, 44), (26, 45)):
        assert y[brow] < y[eye]
    assert y[33] < y[48:68].min()
    assert y[48:68].max() < y[8]
    for line in LINES[:3]:
        assert (np.diff(x[list(line)]) > 0).all()


def test_a_roll_turns_clockwise() -> None:
    turned = neutral(Pose(yaw=0, pitch=0, roll=math.pi / 2, eye_px=100.0, centre=(150.0, 160.0)))
    x, y = (neutral() - [150.0, 160.0]).T
    assert turned == pytest.approx(np.stack([150.0 - y, 160.0 + x], axis=1))


def test_the_nose_points_where_the_head_turns() -> None:
    right = neutral(Pose(yaw=0.5, pitch=0, roll=0, eye_px=100.0, centre=(150.0, 160.0)))
    down = neutral(Pose(yaw=0, pitch=0.3, roll=0, eye_px=100.0, centre=(150.0, 160.0)))
    assert right[30, 0] > right[[31, 35], 0].mean() + 5.0
    assert right[16, 0] - right[30, 0] < right[30, 0] - right[0, 0] - 50.0
    assert down[33, 1] - down[30, 1] < neutral()[33, 1] - neutral()[30, 1] - 5.0


@pytest.mark.parametrize("side", [0, 1])
def test_each_eye_has_its_lids(side: int) -> None:
    shut = [0.0, 0.0]
    shut[side] = 1.0
    openings = shape({}, lids=shut)[[41, 46], 1] - shape({}, lids=shut)[[37, 44], 1]
    before = MEAN[[41, 46], 1] - MEAN[[37, 44], 1]
    assert 0.0 < openings[side] < 0.1 * before[side]
    assert openings[1 - side] == before[1 - side]


def test_weights_add_up_and_none_are_the_mean_face() -> None:
    assert (shape({}, lids=OPEN) == MEAN).all()
    both = shape({"open": 0.5, "chin": -2.0}, lids=OPEN)
    assert both == pytest.approx(MEAN + 0.5 * CHANGES["open"] - 2.0 * CHANGES["chin"])


@pytest.mark.parametrize(
    ("name", "moved"),
    [
        ("eye_size", set(range(36, 48))),
        ("brow_height", set(range(17, 27))),
        ("left_brow", set(range(17, 22))),
        ("nose_width", {31, 32, 34, 35}),
        ("mouth_width", set(range(48, 68)) - {51, 57, 62, 66}),
        ("jaw_width", set(range(17)) - {8}),
        ("smile", set(range(48, 68)) - {51, 62}),
    ],
)
def test_a_change_moves_its_own_points(name: str, moved: set[int]) -> None:
    assert set(np.flatnonzero(np.abs(CHANGES[name][:68]).max(axis=1) > 1e-9).tolist()) == moved


def test_the_parts_are_all_the_points() -> None:
    places = list(PARTS.values())
    assert [places[0].start, *(place.stop for place in places)] == [
        *(place.start for place in places),
        len(MEAN),
    ]
    assert PARTS["face"] == slice(0, 68)
