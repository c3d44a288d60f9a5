import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from visionlab.tasks.keypoints.datasets.face_curves import curves
from visionlab.tasks.keypoints.datasets.face_looks import Colour, Look
from visionlab.tasks.keypoints.datasets.face_painting import FINE, paint_face
from visionlab.tasks.keypoints.datasets.face_points import EYES
from visionlab.tasks.keypoints.datasets.face_shapes import MEAN, PARTS, Floats, Pose, project, shape

PLAIN = Look(
    skin=(200, 150, 120),
    hair=(60, 40, 30),
    lips=(150, 60, 70),
    iris=(80, 110, 160),
    cloth=(30, 60, 160),
    hair_style="none",
    has_fringe=False,
    beard="none",
    glasses="none",
    rim=(20, 20, 20),
    gaze=(0.0, 0.0),
    brow_width=0.08,
    blush=0.0,
    cover="none",
)
BACKGROUND = (20, 160, 60)
POSE = Pose(yaw=0.0, pitch=0.0, roll=0.0, eye_px=60.0, centre=(120.3, 125.4))
WIDTH, HEIGHT = 240, 250


def points_of(pose: Pose = POSE, **weights: float) -> Floats:
    return project(shape(weights, lids=(0.0, 0.0)), pose)


def painted(points: Floats, **changes: Any) -> NDArray[np.float64]:
    """Return the picture of a face on a plain ground, (H, W, 3)."""
    canvas = Image.new("RGB", (FINE * WIDTH, FINE * HEIGHT), BACKGROUND)
    paint_face(canvas, points, dataclasses.replace(PLAIN, **changes))
    return np.asarray(canvas.reduce(FINE)).astype(float)


def at(pixels: NDArray[np.float64], place: Any) -> NDArray[np.float64]:
    """Return the pixel in which a place, x and y, lies."""
    x, y = np.floor(place).astype(int)
    found: NDArray[np.float64] = pixels[y, x]
    return found


def distance(pixel: NDArray[np.float64], colour: Colour) -> float:
    return float(np.abs(pixel - colour).max())


def test_skin_hair_and_cloth_have_their_colours() -> None:
    points = points_of()
    pixels = painted(points, hair_style="short")
    assert distance(at(pixels, (points[19] + points[24]) / 2), PLAIN.skin) == 0
    assert distance(at(pixels, (20.0, 240.0)), PLAIN.cloth) == 0
    assert distance(at(pixels, (5.0, 5.0)), BACKGROUND) == 0
    brow = at(pixels, points[19])
    assert brow.sum() < 0.5 * sum(PLAIN.skin)


@pytest.mark.parametrize("eye", EYES)
def test_pupils_are_dark_in_irises_in_white_eyes(eye: tuple[int, ...]) -> None:
    points = points_of()
    pixels = painted(points)
    middle, width = points[list(eye)].mean(axis=0), points[eye[3], 0] - points[eye[0], 0]
    pupil = at(pixels, middle)
    white = [at(pixels, middle + np.array([side * 0.32 * width, 1.0])) for side in (-1, 1)]
    iris = [at(pixels, middle + np.array([side * 0.16 * width, 1.5])) for side in (-1, 1)]
    assert pupil.max() < 40
    assert min(each.min() for each in white) > 200
    assert all(distance(each, PLAIN.iris) < 40 for each in iris)


def test_the_gaze_moves_the_pupils() -> None:
    points = points_of()
    middle = points[list(EYES[0])].mean(axis=0)
    straight, aside = painted(points), painted(points, gaze=(1.0, 0.0))
    assert at(straight, middle).sum() < at(aside, middle).sum()
    middle[0] += 0.2 * (points[39, 0] - points[36, 0])
    assert at(aside, middle).max() < 60


def test_what_is_outside_the_lids_is_not_eye() -> None:
    points = points_of()
    pixels = painted(points)
    for lid, way in ((37, -1.0), (38, -1.0), (40, 1.0), (41, 1.0)):
        assert distance(at(pixels, points[lid] + [0.0, 2.2 * way]), PLAIN.skin) < 40
    beside = (points[36, 0] + 1.0, points[41, 1])  # in the box around the eye
    assert distance(at(pixels, beside), PLAIN.skin) == 0


@pytest.mark.parametrize("point", [3, 4, 12, 13])
def test_the_edge_of_the_face_goes_through_the_points_of_the_jaw(point: int) -> None:
    points = points_of()
    pixels = painted(points)
    tangent = points[point + 1] - points[point - 1]
    outward = np.array([-tangent[1], tangent[0]]) / np.hypot(*tangent)
    assert distance(at(pixels, points[point] - 2.0 * outward), PLAIN.skin) < 12
    assert distance(at(pixels, points[point] + 2.0 * outward), BACKGROUND) < 12


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("roll", [0.0, 0.4])
def test_the_lips_are_where_their_points_are_to_a_fraction_of_a_pixel(
    shift: float, roll: float
) -> None:
    pose = dataclasses.replace(POSE, roll=roll, centre=(120.0 + shift, 125.0 - shift))
    points = points_of(pose)
    around = curves(points)
    outline = np.concatenate([around["upper_lip"][:-1], around["lower_lip"][:-1]])
    (left, top), (right, bottom) = outline.min(axis=0) - 2.0, outline.max(axis=0) + 3.0
    part = painted(points)[int(top) : int(bottom), int(left) : int(right)]
    y, x = np.nonzero(np.abs(part - PLAIN.skin).max(axis=2) > 40)
    seen = np.array([x.mean() + int(left) + 0.5, y.mean() + int(top) + 0.5])
    assert seen == pytest.approx(centroid(outline), abs=0.2)


def centroid(outline: Floats) -> Floats:
    """Return the centre of mass of a polygon, (P, 2)."""
    after = np.roll(outline, -1, axis=0)
    cross = outline[:, 0] * after[:, 1] - after[:, 0] * outline[:, 1]
    middle: Floats = ((outline + after) * cross[:, None]).sum(axis=0) / (3.0 * cross.sum())
    return middle


def test_nostrils_are_dark_and_the_bridge_is_light() -> None:
    points = points_of()
    pixels = painted(points)
    for nostril in (32, 34):
        assert at(pixels, points[nostril] - [0.0, 0.5]).sum() < 0.6 * sum(PLAIN.skin)
    for bridge in (28, 29, 30):
        assert at(pixels, points[bridge]).sum() > 1.05 * sum(PLAIN.skin)


def test_an_open_mouth_shows_teeth_above_and_a_tongue_below() -> None:
    points = points_of(open=1.0)
    pixels = painted(points)
    top, bottom = points[62], points[66]
    teeth, dark, tongue = (at(pixels, top + share * (bottom - top)) for share in (0.12, 0.45, 0.88))
    assert teeth.min() > 200
    assert dark.max() < 100
    assert dark.sum() < tongue.sum() < teeth.sum()


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"beard": "full"}, (8, (0.0, -8.0))),
        ({"beard": "stubble"}, (8, (0.0, -8.0))),
        ({"glasses": "dark"}, (37, (0.0, -3.0))),
        ({"glasses": "clear"}, (27, (0.0, 4.0))),
        ({"hair_style": "short"}, (27, (0.0, -80.0))),
        ({"hair_style": "long"}, (3, (-10.0, 0.0))),
        ({"hair_style": "short", "has_fringe": True}, (27, (0.0, -52.0))),
        ({"blush": 1.0}, (48, (-12.0, -16.0))),
    ],
)
def test_each_look_changes_its_place(
    changes: dict[str, Any], place: tuple[int, tuple[float, float]]
) -> None:
    points = points_of()
    where = points[place[0]] + place[1]
    assert distance(at(painted(points, **changes), where), at(painted(points), where)) > 6  # type: ignore[arg-type]


def test_no_hair_means_no_fringe() -> None:
    points = points_of()
    assert (painted(points, has_fringe=True) == painted(points)).all()


def test_a_face_half_outside_the_picture_is_painted() -> None:
    pixels = painted(points_of(dataclasses.replace(POSE, centre=(0.0, 250.0))))
    assert (pixels == BACKGROUND).all(axis=2).mean() < 0.9


def test_curves_go_through_their_points_and_closed_ones_return() -> None:
    points = MEAN[:, :2]
    through = curves(points)
    assert through["chin"][::4] == pytest.approx(points[2:15])
    assert through["face"][:65:4] == pytest.approx(points[:17])
    for name in ("face", "left_lens", "right_ear"):
        assert (through[name][0] == through[name][-1]).all()
    assert through["upper_lip"][-1] == pytest.approx(through["lower_lip"][0])


def test_closed_curves_have_no_corner_where_they_return() -> None:
    angles = np.arange(16) * np.pi / 8
    points = np.zeros((len(MEAN), 2))
    points[PARTS["left_lens"]] = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    radii = np.hypot(*curves(points)["left_lens"].T)
    assert radii[:-1].reshape(16, 4) == pytest.approx(np.tile(radii[:4], (16, 1)))
    assert radii == pytest.approx(np.ones(65), abs=1e-3)


def test_curves_of_a_straight_line_are_straight_and_even() -> None:
    points = np.zeros((len(MEAN), 2))
    points[27:31] = [[0, 0], [4, 8], [8, 16], [12, 24]]
    bridge = curves(points)["bridge"]
    assert bridge == pytest.approx(np.arange(13.0)[:, None] * [1.0, 2.0])
