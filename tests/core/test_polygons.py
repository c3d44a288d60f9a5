import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oriented import BOXES, NEAR_BOXES, Box, area_of, clipped, corners_of, iou_of, tensor, turned

from visionlab.core import oriented_boxes, polygons

SQUARE = ((0, 0), (4, 0), (4, 4), (0, 4))
ARROW = ((0, 0), (4, 0), (1, 1), (0, 4))  # its third corner points inwards
BOW_TIE = ((0, 0), (4, 4), (4, 0), (0, 4))
STAR = [(math.cos(0.8 * math.pi * n), math.sin(0.8 * math.pi * n)) for n in range(5)]
OUTLINE = [(math.cos(0.4 * math.pi * n), math.sin(0.4 * math.pi * n)) for n in range(5)]


def test_areas_by_hand() -> None:
    triangle = tensor((0, 0), (4, 0), (0, 3))
    assert polygons.signed_areas(triangle).item() == 6  # right, then down: clockwise
    assert polygons.signed_areas(triangle.flip(0)).item() == -6
    assert polygons.areas(torch.stack([triangle, triangle.flip(0)])).tolist() == [6, 6]


def test_areas_far_from_the_origin_keep_their_digits() -> None:
    assert polygons.areas(tensor(*SQUARE) + 1e8).item() == 16


def test_clockwise_polygons_keep_their_first_corner() -> None:
    found = polygons.clockwise(torch.stack([tensor(*SQUARE), tensor(*SQUARE).flip(0)]))
    assert found[0].tolist() == [list(point) for point in SQUARE]
    assert found[1].tolist() == [[0, 4], [0, 0], [4, 0], [4, 4]]


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [  # boxes with degrees
        ((0, 0, 4, 2, 0), (0, 0, 4, 2, 30), 0.623310),
        ((0, 0, 4, 2, 0), (0, 0, 4, 2, 90), 1 / 3),
        ((0, 0, 2, 2, 0), (0, 0, 2, 2, 45), math.sqrt(0.5)),
        ((0, 0, 4, 2, 0), (1, 0.5, 4, 2, 15), 0.437123),
        ((0, 0, 100, 2, 0), (0, 0, 100, 2, 1), 0.641848),
        ((0, 0, 100, 2, 0), (0, 1, 100, 2, 0), 1 / 3),
        ((0, 0, 4, 2, 0), (4, 0, 4, 2, 0), 0),  # a common side
        ((0, 0, 4, 2, 0), (50, 50, 4, 2, 0), 0),
        ((0, 0, 4, 4, 0), (0, 0, 2, 2, 77), 0.25),  # one in the other
        ((0, 0, 4, 2, 0), (0, 0, 4, 2, 180), 1),
        ((0, 0, 0, 2, 0), (0, 0, 4, 2, 0), 0),
        ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), 0),
    ],
)
def test_iou_by_hand(one: Box, other: Box, wanted: float) -> None:
    boxes = [turned(*box) for box in (one, other)]
    pair = [oriented_boxes.corners(box) for box in boxes]
    assert polygons.pairwise_iou(*pair).item() == pytest.approx(wanted, abs=1e-6)
    mirrored = polygons.pairwise_iou(pair[0].flip(-2), pair[1])  # counter-clockwise
    assert mirrored.item() == pytest.approx(wanted, abs=1e-6)
    row = torch.zeros(1, dtype=torch.int64)
    assert oriented_boxes.iou(*boxes, row, row).item() == pytest.approx(wanted, abs=1e-6)


@given(
    st.lists(st.one_of(NEAR_BOXES, BOXES), min_size=1, max_size=6),
    st.lists(st.one_of(NEAR_BOXES, BOXES), min_size=1, max_size=6),
)
def test_iou_of_all_pairs_is_that_of_lists_of_corners(ones: list[Box], others: list[Box]) -> None:
    pair = [oriented_boxes.corners(tensor(*boxes)) for boxes in (ones, others)]
    found = polygons.pairwise_iou(*pair)
    assert found.tolist() == [
        [pytest.approx(iou_of(one, other), abs=1e-7) for other in others] for one in ones
    ]
    assert found.T.tolist() == pytest.approx(polygons.pairwise_iou(*pair[::-1]).numpy(), abs=1e-7)


@given(NEAR_BOXES, st.integers(0, 3), st.floats(-1e-9, 1e-9))
def test_a_box_has_an_iou_of_one_with_itself_whatever_rounding_does(
    box: Box, shift: int, noise: float
) -> None:
    corners = oriented_boxes.corners(tensor(box))
    other = corners.roll(shift, dims=1) + noise
    assert polygons.pairwise_iou(corners, other).item() == pytest.approx(1, abs=1e-6)


def test_more_pairs_than_are_clipped_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = torch.rand(7, 5, generator=torch.Generator().manual_seed(0)).double() * 3 + 1
    corners = oriented_boxes.corners(boxes)
    whole = polygons.pairwise_iou(corners, corners)
    monkeypatch.setattr(polygons, "_CHUNK", 4)
    torch.testing.assert_close(polygons.pairwise_iou(corners, corners), whole)


def test_no_polygons_have_no_pairs() -> None:
    some, none = torch.zeros(3, 4, 2), torch.zeros(0, 4, 2)
    assert polygons.pairwise_iou(some, none).shape == (3, 0)
    assert polygons.intersections(none, none).shape == (0,)


@given(NEAR_BOXES, NEAR_BOXES, NEAR_BOXES)
def test_a_clipped_polygon_can_be_clipped_again(one: Box, two: Box, three: Box) -> None:
    octagon = clipped(corners_of(one), corners_of(two))
    if abs(area_of(octagon)) < 1e-6:
        return
    window = oriented_boxes.corners(tensor(three))
    found = polygons.intersections(tensor(*octagon)[None], window)
    wanted = abs(area_of(clipped(octagon, corners_of(three))))
    assert found.item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("polygon", "is_simple", "is_convex"),
    [
        (SQUARE, True, True),
        (SQUARE[::-1], True, True),
        (ARROW, True, False),
        (BOW_TIE, False, False),
        (STAR, False, False),
        (OUTLINE, True, True),
        (((0, 0), (2, 0), (4, 0), (0, 3)), True, True),  # a corner on an edge
        (((0, 0), (1, 1), (2, 2), (3, 3)), True, True),  # all on a line
    ],
)
def test_shapes(polygon: tuple[tuple[float, float], ...], is_simple: bool, is_convex: bool) -> None:
    for size in (1e-3, 1.0, 1e5):
        corners = tensor(*polygon) * size
        assert polygons.is_simple(corners).item() == is_simple
        assert polygons.is_convex(corners).item() == is_convex


@given(BOXES)
def test_rectangles_are_convex(box: Box) -> None:
    assert polygons.is_convex(oriented_boxes.corners(tensor(box))).item()
