from functools import cache
from math import cos, sin
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image
from PIL.ImageDraw import Draw
from torch import Tensor

from visionlab.tasks.keypoints.datasets import face_painting
from visionlab.tasks.keypoints.datasets.drawn_faces import draw_faces
from visionlab.tasks.keypoints.datasets.face_shapes import (
    CHANGES,
    EYES,
    MEAN,
    MIRROR,
    Floats,
    project,
    shape,
)

ROOT = Path(__file__).parents[4]
COUNT = 300
ROWS, COLUMNS = 1, 2
weights_of_changes = st.fixed_dictionaries(
    {name: st.floats(0.0 if name == "open" else -1.0, 1.0) for name in CHANGES}
)
lids_shut = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=2)


@cache
def faces() -> tuple[list[Tensor], Tensor]:
    return draw_faces(range(COUNT), seed=0)


def seen(head: Floats, *, yaw: float = 0, pitch: float = 0, roll: float = 0) -> Floats:
    """Return points in a picture of 240 x 240 pixels with the head in its middle."""
    angles, centre = np.array([yaw, pitch, roll]), np.array([120.0, 120.0])
    return project(head, angles=angles, unit_px=60.0, centre=centre)


def head_of(*, lids: tuple[float, float] = (0, 0), **weights: float) -> Floats:
    return shape(weights, lids=list(lids), hairline=1.0)


def painted(points: Floats) -> Floats:
    """Return a head painted on plain blue, (240, 240, 3), in the same colours each time."""
    canvas = Image.new("RGB", (480, 480), "blue")
    rng = np.random.default_rng(0)
    face_painting._paint_head(Draw(canvas), 2 * points, 120.0, rng)
    return np.asarray(canvas.reduce(2)).astype(np.float64)


def test_a_face_follows_from_seed_and_key_alone() -> None:
    images, points = draw_faces([17, 3, 17], seed=0)
    for image, place, key in zip(images, points, (17, 3, 17), strict=True):
        assert torch.equal(image, faces()[0][key])
        assert torch.equal(place, faces()[1][key])
    assert not torch.equal(draw_faces([17], seed=1)[1][0], points[0])
    assert len({image.numpy().tobytes() for image in faces()[0]}) == COUNT


def test_pictures_and_points_have_their_types_and_sizes() -> None:
    images, points = faces()
    assert (points.dtype, points.shape) == (torch.float32, (COUNT, 68, 2))
    assert {(image.dtype, len(image), image.is_contiguous()) for image in images} == {
        (torch.uint8, 3, True)
    }
    for axis in (ROWS, COLUMNS):
        sides = {image.shape[axis] for image in images}
        assert min(sides) in (96, 97, 98)
        assert max(sides) in (158, 159, 160)


def test_the_configuration_has_the_same_mirror_and_eyes() -> None:
    settings = OmegaConf.load(ROOT / "conf" / "points" / "ibug68.yaml")
    assert tuple(settings.mirror) == MIRROR
    assert tuple(map(tuple, settings.eyes)) == EYES


def test_the_mirror_undoes_itself_and_the_mean_face_is_symmetric() -> None:
    assert [MIRROR[point] for point in MIRROR] == list(range(68))
    assert MEAN[list(MIRROR)] * [-1, 1, 1] == pytest.approx(MEAN)
    left, right = (MEAN[list(eye), :2].mean(axis=0) for eye in EYES)
    assert right - left == pytest.approx([1.0, 0.0], abs=0.01)


@given(weights_of_changes, lids_shut, *[st.floats(-0.6, 0.6)] * 3)
def test_a_mirrored_head_has_the_mirrored_points(
    weights: dict[str, float], lids: list[float], yaw: float, pitch: float, roll: float
) -> None:
    brows = {"left_brow": weights["right_brow"], "right_brow": weights["left_brow"]}
    points = seen(head_of(lids=(lids[0], lids[1]), **weights)[:68], yaw=yaw, pitch=pitch, roll=roll)
    other = head_of(lids=(lids[1], lids[0]), **(weights | brows))[:68]
    mirrored = points[list(MIRROR)] * [-1, 1] + [240, 0]
    assert mirrored == pytest.approx(seen(other, yaw=-yaw, pitch=pitch, roll=-roll), abs=1e-9)


@given(weights_of_changes, lids_shut)
def test_no_face_is_turned_inside_out(weights: dict[str, float], lids: list[float]) -> None:
    x, y = shape(weights, lids=lids, hairline=1.0)[:68, :2].T
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46), (61, 67), (62, 66), (51, 57)):
        assert y[upper] < y[lower]
    for brow, eye in ((17, 36), (19, 37), (21, 39), (22, 42), (24, 44), (26, 45)):
        assert y[brow] < y[eye]
    assert y[33] < y[48:68].min() < y[48:68].max() < y[8]
    for line in (range(17), range(17, 27), range(31, 36), range(48, 55)):
        assert (np.diff(x[list(line)]) > 0).all()


@pytest.mark.parametrize("side", [0, 1])
def test_each_eye_has_its_lids(side: int) -> None:
    shut = head_of(lids=(1 - side, side))
    openings, before = (face[[41, 46], 1] - face[[37, 44], 1] for face in (shut, MEAN))
    assert 0 < openings[side] < 0.15 * before[side]
    assert openings[1 - side] == pytest.approx(before[1 - side])


def test_points_of_a_pose_are_those_of_a_projection_by_hand() -> None:
    """Move the middle of the head to the origin, nod, turn, lean, divide by the distance."""
    yaw, pitch, roll = 0.3, -0.2, 0.1
    for point in (0, 30, 57):
        x, y, z = MEAN[point] - [0, 0.7, -0.5]
        y, z = y * cos(pitch) + z * sin(pitch), z * cos(pitch) - y * sin(pitch)
        x, z = x * cos(yaw) + z * sin(yaw), z * cos(yaw) - x * sin(yaw)
        x, y = x * cos(roll) - y * sin(roll), x * sin(roll) + y * cos(roll)
        by_hand = [120 + 60 * x * 9.5 / (9.5 - z), 120 + 60 * y * 9.5 / (9.5 - z)]
        assert seen(MEAN, yaw=yaw, pitch=pitch, roll=roll)[point] == pytest.approx(by_hand)


def test_the_nose_points_where_the_head_turns() -> None:
    straight, right, down = seen(MEAN), seen(MEAN, yaw=0.3), seen(MEAN, pitch=0.3)
    assert right[30, 0] > straight[30, 0] + 5
    assert down[30, 1] > straight[30, 1] + 5
    leaning = seen(MEAN, roll=0.3)
    assert leaning[45, 1] > leaning[36, 1] + 5


@pytest.mark.parametrize("roll", [0.0, 0.4])
def test_the_mouth_is_painted_at_its_points_to_a_fraction_of_a_pixel(roll: float) -> None:
    """The pixels that change when the mouth shrinks to nothing have their centre where it was."""
    offsets = []
    for shift in np.arange(8) / 8:
        points = seen(head_of(open=1.0), roll=roll) + shift
        without = points.copy()
        without[48:68] = points[48:68].mean(axis=0)
        picture, other = (
            face_painting.draw_picture(each, [240, 240], np.random.default_rng(0)).astype(int)
            for each in (points, without)
        )
        rows, columns = np.nonzero(np.abs(picture - other).max(axis=2) > 10)
        centre = np.array([columns.mean(), rows.mean()]) + 0.5
        offsets.append(centre - centre_of_mass(points[48:60]))
    assert np.abs(offsets).max() < 0.3
    assert np.mean(offsets, axis=0) == pytest.approx([0.0, 0.0], abs=0.15)


def centre_of_mass(outline: Floats) -> Floats:
    """Return the centre of a polygon, (N, 2), by the shoelace formula."""
    after = np.roll(outline, -1, axis=0)
    cross = outline[:, 0] * after[:, 1] - after[:, 0] * outline[:, 1]
    middle: Floats = ((outline + after) * cross[:, None]).sum(axis=0) / (3 * cross.sum())
    return middle


def test_skin_ends_at_the_lids_and_at_the_jaw() -> None:
    points = seen(head_of())
    pixels = painted(points)
    skin = at(pixels, points[[21, 22]].mean(axis=0))

    def is_skin(place: Floats) -> bool:
        return bool(np.abs(at(pixels, place) - skin).max() < 8)

    for eye in EYES:
        corners, middle = points[list(eye)], points[list(eye)].mean(axis=0)
        for lid, outward in ((1, -3), (2, -3), (4, 3), (5, 3)):
            assert is_skin(corners[lid] + [0, outward])
            assert not is_skin(0.8 * corners[lid] + 0.2 * middle)
    for point in (4, 5, 11, 12):
        outward = (points[point] - points[33]) / np.hypot(*(points[point] - points[33]))
        assert is_skin(points[point] - 2.5 * outward)
        assert not is_skin(points[point] + 2.5 * outward)
    assert at(pixels, points[32]).sum() < 0.5 * skin.sum()  # a nostril
    assert at(pixels, points[29]).sum() > skin.sum()  # the light on the bridge


def at(pixels: Floats, place: Floats) -> Floats:
    """Return the pixel in which a place, x and y, lies."""
    x, y = np.floor(place).astype(int)
    pixel: Floats = pixels[y, x]
    return pixel


def test_an_obstacle_covers_its_place() -> None:
    for seed in range(30):
        canvas = Image.new("RGB", (99, 99))
        draw, rng = Draw(canvas), np.random.default_rng(seed)
        face_painting._hide(draw, np.array([50.0, 40.0]), 30.0, rng)
        assert np.asarray(canvas)[39:42, 49:52].any()


def test_something_hides_a_part_of_one_face_in_seven(monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[str] = []
    monkeypatch.setattr(face_painting, "_hide", lambda *_: painted.append("obstacle"))
    monkeypatch.setattr(face_painting, "_paint_head", lambda *_: painted.append("head"))
    last = []
    for key in range(COUNT):
        draw_faces([key], seed=0)
        last.append(painted[-1])
    assert 0.08 < last.count("obstacle") / COUNT < 0.22
    assert painted.count("obstacle") > 2 * COUNT  # three in the background on average


def test_some_pictures_have_black_bars() -> None:
    images = [image.any(dim=0) for image in faces()[0]]
    sides = [(image[0], image[-1], image[:, 0], image[:, -1]) for image in images]
    is_black = np.array([[not side.any() for side in each] for each in sides])
    rows, columns = is_black[:, :2].any(axis=1), is_black[:, 2:].any(axis=1)
    assert 0.03 < rows.mean() < 0.15
    assert 0.01 < columns.mean() < 0.1
    assert not (rows & columns).any()
    assert all(image.any(dim=dim).double().mean() > 0.7 for image in images for dim in (0, 1))


def test_a_few_points_lie_outside() -> None:
    outside = [
        ((place < 0) | (place > torch.tensor(image.shape[:0:-1]))).any(dim=1).double().mean().item()
        for image, place in zip(*faces(), strict=True)
    ]
    assert 0.01 < np.mean(np.array(outside) > 0) < 0.15
    assert max(outside) < 0.2
