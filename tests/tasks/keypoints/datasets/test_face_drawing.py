from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from visionlab.tasks.keypoints.datasets import face_drawing
from visionlab.tasks.keypoints.datasets.face_drawing import draw_face
from visionlab.tasks.keypoints.datasets.face_photo import light

Face = tuple[NDArray[np.uint8], NDArray[np.float32]]
COUNT = 300


@cache
def faces() -> list[Face]:
    return [draw_face(key, seed=0) for key in range(COUNT)]


def are_equal(one: Face, other: Face) -> bool:
    return np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def test_a_face_follows_from_seed_and_key_alone() -> None:
    assert all(are_equal(draw_face(key, seed=0), faces()[key]) for key in (17, 3, 4, 17))
    for key in range(10):
        assert not np.array_equal(draw_face(key, seed=1)[1], faces()[key][1])


def test_all_faces_differ() -> None:
    assert len({pixels.tobytes() for pixels, _ in faces()}) == COUNT
    assert len({points.tobytes() for _, points in faces()}) == COUNT


def test_no_global_generator_is_drawn_from() -> None:
    before = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
    draw_face(0, seed=0)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]  # noqa: NPY002


def test_pictures_and_points_have_their_types_and_sizes() -> None:
    for pixels, points in faces():
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert pixels.flags.writeable
        assert pixels.shape[2] == 3
        assert 96 <= min(pixels.shape[:2]) <= max(pixels.shape[:2]) <= 160
        assert points.dtype == np.float32
        assert points.shape == (68, 2)
        assert np.isfinite(points).all()
    heights, widths, _ = zip(*(pixels.shape for pixels, _ in faces()), strict=True)
    assert {min(heights), min(widths)} <= {96, 97}
    assert {max(heights), max(widths)} <= {159, 160}
    assert sum(a != b for a, b in zip(heights, widths, strict=True)) > 0.9 * COUNT


def test_faces_fill_most_of_the_picture() -> None:
    ratios = []
    for pixels, points in faces():
        apart = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
        ratios.append(np.hypot(*apart) / min(pixels.shape[:2]))
    assert min(ratios) > 0.2
    assert max(ratios) < 0.5
    assert 0.29 < np.median(ratios) < 0.37


def test_nearly_all_points_are_inside() -> None:
    outside = np.array(
        [
            ((points < 0) | (points > pixels.shape[1::-1])).any(axis=1).mean()
            for pixels, points in faces()
        ]
    )
    assert 0.0 < outside.mean() < 0.02
    assert 0.02 < (outside > 0).mean() < 0.25
    assert outside.max() < 0.25


def test_heads_are_turned_either_way_but_not_far() -> None:
    apart = np.array([p[42:48].mean(axis=0) - p[36:42].mean(axis=0) for _, p in faces()])
    rolls = np.degrees(np.arctan2(apart[:, 1], apart[:, 0]))
    assert rolls.min() < -10
    assert 10 < rolls.max() < 20
    noses = np.array([np.hypot(*(p[30] - p[2])) / np.hypot(*(p[30] - p[14])) for _, p in faces()])
    assert noses.min() < 0.6
    assert noses.max() > 1.6
    assert 0.9 < np.median(noses) < 1.1


def test_eyes_and_mouths_are_open_and_shut() -> None:
    points = np.stack([points for _, points in faces()])
    width = np.linalg.norm(points[:, 39] - points[:, 36], axis=1)
    mouths = np.linalg.norm(points[:, 66] - points[:, 62], axis=1) / width
    left = np.linalg.norm(points[:, 41] - points[:, 37], axis=1) / width
    right = np.linalg.norm(points[:, 46] - points[:, 44], axis=1) / width
    assert 0.04 < ((left < 0.08) & (right < 0.08)).mean() < 0.15
    assert 0.02 < ((left < 0.08) != (right < 0.08)).mean() < 0.1
    assert (left > 0.25).mean() > 0.6
    assert 0.3 < (mouths < 0.15).mean() < 0.7
    assert mouths.max() > 0.8


def test_some_pictures_are_grey_and_some_have_black_bars() -> None:
    grey = [(pixels == pixels[:, :, :1]).all() for pixels, _ in faces()]
    assert 0.03 < np.mean(grey) < 0.15
    bars = np.array(
        [[not side.any() for side in (p[0], p[-1], p[:, 0], p[:, -1])] for p, _ in faces()]
    )
    assert 0.05 < bars.any(axis=1).mean() < 0.25
    assert bars[:, :2].any()
    assert bars[:, 2:].any()
    assert not (bars[:, :2].any(axis=1) & bars[:, 2:].any(axis=1)).any()
    for pixels, _ in faces():
        assert pixels.any(axis=(1, 2)).mean() > 0.7
        assert pixels.any(axis=(0, 2)).mean() > 0.7


def test_pictures_are_dark_and_light_but_neither_black_nor_white() -> None:
    means = np.array([pixels.mean() for pixels, _ in faces()])
    assert 25 < means.min() < 80
    assert 150 < means.max() < 235
    assert np.mean([pixels.std() > 15 for pixels, _ in faces()]) == 1.0


def test_a_cover_changes_the_picture_and_not_the_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_drawing, "cover", lambda *_: None)
    bare = [draw_face(key, seed=0) for key in range(100)]
    pairs = list(zip(bare, faces()[:100], strict=True))
    assert all(np.array_equal(one[1], other[1]) for one, other in pairs)
    covered = sum(not np.array_equal(one[0], other[0]) for one, other in pairs)
    assert 7 <= covered <= 26


def test_light_falls_softly_and_is_about_1() -> None:
    points = faces()[0][1].astype(np.float64)
    shades = [light(points, (130, 101), np.random.default_rng(seed)) for seed in range(50)]
    assert {shade.shape for shade in shades} == {(101, 130)}
    assert {shade.dtype for shade in shades} == {np.dtype(np.float32)}
    assert 0.8 < np.mean(shades) < 1.05
    assert all(0.3 < shade.min() < shade.max() < 1.6 for shade in shades)
    assert max(np.abs(np.diff(shade)).max() for shade in shades) < 0.1
