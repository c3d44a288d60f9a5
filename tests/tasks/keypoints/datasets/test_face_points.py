from itertools import pairwise
from pathlib import Path

from omegaconf import OmegaConf

from visionlab.tasks.keypoints.datasets.face_points import EYES, LINES, MIRROR, NUM_POINTS


def test_the_mirror_of_a_mirror_is_the_face() -> None:
    assert sorted(MIRROR) == list(range(68))
    assert [MIRROR[point] for point in MIRROR] == list(range(68))


def test_the_mirror_changes_the_eyes_and_keeps_the_middle() -> None:
    assert {MIRROR[point] for point in EYES[0]} == set(EYES[1])
    assert (MIRROR[36], MIRROR[37], MIRROR[39], MIRROR[41]) == (45, 44, 42, 46)
    middle = {8, 27, 28, 29, 30, 33, 51, 57, 62, 66}
    assert {point for point in range(68) if MIRROR[point] == point} == middle


def test_the_mirror_maps_lines_onto_lines() -> None:
    edges = {frozenset(edge) for line in LINES for edge in pairwise(line)}
    assert {frozenset(MIRROR[point] for point in edge) for edge in edges} == edges


def test_each_point_is_on_one_line() -> None:
    assert NUM_POINTS == 68
    assert sorted({point for line in LINES for point in line}) == list(range(68))
    assert sum(len(set(line)) for line in LINES) == 68
    assert [line[0] == line[-1] for line in LINES] == [False] * 5 + [True] * 4


def test_the_configuration_says_the_same() -> None:
    settings = OmegaConf.load(Path(__file__).parents[4] / "conf" / "points" / "ibug68.yaml")
    assert tuple(settings.mirror) == MIRROR
    assert tuple(map(tuple, settings.eyes)) == EYES
