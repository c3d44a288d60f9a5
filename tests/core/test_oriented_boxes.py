import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from oriented import (
    ANGLES,
    BOXES,
    NEAR_BOXES,
    Box,
    area_of,
    clipped,
    corners_of,
    iou_of,
    tensor,
    turned,
)

from visionlab.core import boxes, geometry, oriented_boxes, polygons

UPRIGHT = st.tuples(st.floats(-300, 300), st.floats(-300, 300), st.floats(0.5, 300)).flatmap(
    lambda low: st.floats(0.5, 300).map(
        lambda height: (low[0], low[1], low[0] + low[2], low[1] + height)
    )
)


def same_rectangle(one: torch.Tensor, other: torch.Tensor, *, tolerance: float = 1e-6) -> bool:
    """Return whether boxes (1, 5) have the same corners, whichever is the first."""
    first, second = oriented_boxes.corners(one), oriented_boxes.corners(other)
    shifts = [(first - second.roll(shift, dims=1)).abs().amax() for shift in range(4)]
    return min(shifts).item() < tolerance * (1 + first.abs().amax().item())


def test_corners_by_hand() -> None:
    found = oriented_boxes.corners(turned(10, 20, 4, 2, 90))  # its right end points down
    assert found[0].tolist() == [
        pytest.approx(point) for point in ([11, 18], [11, 22], [9, 22], [9, 18])
    ]
    assert polygons.signed_areas(found).item() == pytest.approx(8)  # clockwise


@pytest.mark.parametrize(
    ("box", "wanted"),
    [  # degrees
        ((0, 0, 4, 2, 30), (0, 0, 4, 2, 30)),
        ((0, 0, 2, 4, 30), (0, 0, 4, 2, -60)),
        ((0, 0, 2, 4, 0), (0, 0, 4, 2, -90)),
        ((0, 0, 4, 2, 90), (0, 0, 4, 2, -90)),
        ((0, 0, 4, 2, 269), (0, 0, 4, 2, 89)),
        ((0, 0, 3, 3, 45), (0, 0, 3, 3, -45)),
        ((0, 0, 3, 3, 80), (0, 0, 3, 3, -10)),
    ],
)
def test_canonical_numbers_by_hand(box: Box, wanted: Box) -> None:
    found = oriented_boxes.canonical(turned(*box))
    assert found[0].tolist() == pytest.approx(turned(*wanted)[0].tolist(), abs=1e-9)


@given(BOXES)
@example((0.0, 0.0, 2.0, 1.0, math.nextafter(-math.pi / 2, -4)))
@example((0.0, 0.0, 1.0, 1.0, math.pi / 4))
def test_canonical_numbers_are_in_range_and_describe_the_same_rectangle(box: Box) -> None:
    found = oriented_boxes.canonical(tensor(box))
    _, _, width, height, angle = found[0].tolist()
    limit = math.pi / 4 if width == height else math.pi / 2
    assert width >= height
    assert -limit <= angle < limit
    assert same_rectangle(found, tensor(box))
    in_float32 = oriented_boxes.canonical(tensor(box).float())[0, 4].item()
    assert -math.pi / 2 - 1e-6 <= in_float32 <= math.pi / 2


def test_canonical_corners_by_hand() -> None:
    corners = oriented_boxes.corners(turned(0, 0, 4, 2, 30))
    wanted = [(-1.232051, -1.866025), (2.232051, 0.133975)]
    wanted += [(1.232051, 1.866025), (-2.232051, -0.133975)]
    for shift in range(4):
        for polygon in (corners.roll(shift, dims=1), corners.roll(shift, dims=1).flip(1)):
            found = oriented_boxes.canonical_corners(polygon)
            assert found[0].tolist() == [pytest.approx(point, abs=1e-6) for point in wanted]
    upright = tensor((4, 0), (0, 0), (0, 2), (4, 2))  # two corners have the smallest y
    assert oriented_boxes.canonical_corners(upright).tolist() == [[0, 0], [4, 0], [4, 2], [0, 2]]


@given(BOXES, st.integers(0, 3), st.booleans())
def test_the_corners_of_a_box_give_the_box(box: Box, shift: int, is_mirrored: bool) -> None:
    corners = oriented_boxes.corners(tensor(box)).roll(shift, dims=1)
    found = oriented_boxes.from_corners(corners.flip(1) if is_mirrored else corners)
    assert same_rectangle(found, tensor(box))


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=4, max_size=4))
def test_no_turn_makes_a_smaller_rectangle_around_four_points(
    points: list[tuple[float, float]],
) -> None:
    found = oriented_boxes.from_corners(tensor(*points))
    area = (found[2] * found[3]).item()
    for angle in torch.arange(0, 180, 3).deg2rad().tolist():
        around = oriented_boxes.around(tensor(*points), torch.tensor(angle).double())
        assert (around[2] * around[3]).item() >= area - 1e-6
    inside = polygons.clockwise(oriented_boxes.corners(found))
    sides = inside.roll(-1, dims=0) - inside
    gaps = tensor(*points)[:, None] - inside
    outside = sides[:, 0] * gaps[..., 1] - sides[:, 1] * gaps[..., 0]
    assert outside.min() > -1e-5 * (1 + area)


@given(BOXES, st.floats(-720, 720), st.floats(0.1, 10), st.booleans())
def test_similarities_are_exact(box: Box, degrees: float, factor: float, is_mirrored: bool) -> None:
    matrix = geometry.translations(tensor((3, -4))) @ geometry.rotations(torch.tensor([degrees]))
    matrix = matrix @ geometry.scalings(tensor((factor, factor)))
    matrix = matrix @ geometry.flips(torch.tensor([is_mirrored]), torch.tensor([100.0]), axis=0)
    found = oriented_boxes.transform(tensor(box)[None], matrix)
    wanted = geometry.transform_points(oriented_boxes.corners(tensor(box)), matrix)
    gaps = (oriented_boxes.corners(found[0])[0, :, None] - wanted[0]).norm(dim=-1).amin(dim=1)
    assert gaps.max().item() < 1e-6 * (1 + wanted.abs().max().item())
    assert (found[0, 0, 2] * found[0, 0, 3]).item() == pytest.approx(box[2] * box[3] * factor**2)


def test_a_quarter_turn_permutes_the_corners() -> None:
    box = turned(30, 10, 8, 2, 20)
    matrix = geometry.translations(tensor((100, 0))) @ geometry.rotations(torch.tensor([90.0]))
    found = oriented_boxes.transform(box[None], matrix)[0]
    assert found[0].tolist() == pytest.approx([90, 30, 8, 2, math.radians(-70)])
    before, after = (
        oriented_boxes.canonical_corners(oriented_boxes.corners(each)) for each in (box, found)
    )
    moved = geometry.transform_points(before, matrix)
    # the corner that was the leftmost, the last clockwise from the top, is now the topmost
    torch.testing.assert_close(moved.roll(1, dims=1), after)


def test_a_shear_gives_the_smallest_rectangle() -> None:
    matrix = geometry.identities(1, device=torch.device("cpu"))
    matrix[0, 0, 1] = 1.0  # x + y
    found = oriented_boxes.transform(turned(0, 0, 2, 2, 0)[None], matrix)
    # a parallelogram (-2, -1), (0, -1), (2, 1), (0, 1): upright 4 x 2, along its long side less
    assert found[0, 0].tolist() == pytest.approx([0, 0, 3 * 2**0.5, 2**0.5, math.pi / 4])


@given(UPRIGHT, UPRIGHT)
def test_at_angle_zero_offsets_are_those_of_upright_boxes(
    box: tuple[float, ...], anchor: tuple[float, ...]
) -> None:
    oriented = oriented_boxes.canonical(oriented_boxes.from_boxes(tensor(box)))
    found = oriented_boxes.encode(oriented, oriented_boxes.from_boxes(tensor(anchor)))
    wanted = boxes.encode(tensor(box), tensor(anchor))
    torch.testing.assert_close(found[:, :4], wanted)
    assert found[0, 4].item() == pytest.approx(0, abs=1e-12)
    back = oriented_boxes.decode(found, oriented_boxes.from_boxes(tensor(anchor)))
    torch.testing.assert_close(oriented_boxes.enclosing(back), boxes.decode(wanted, tensor(anchor)))


@given(NEAR_BOXES, NEAR_BOXES)
def test_decoding_undoes_encoding_against_any_anchor(box: Box, anchor: Box) -> None:
    deltas = oriented_boxes.encode(tensor(box), tensor(anchor))
    assert deltas[0, 4].abs().item() <= math.pi / 4
    assert same_rectangle(
        oriented_boxes.decode(deltas, tensor(anchor)), tensor(box), tolerance=1e-7
    )


@given(NEAR_BOXES, NEAR_BOXES, ANGLES)
def test_offsets_do_not_change_if_box_and_anchor_turn_together(
    box: Box, anchor: Box, angle: float
) -> None:
    before = oriented_boxes.encode(tensor(box), tensor(anchor))
    if math.pi / 4 - before[0, 4].abs().item() < 1e-6:  # either pair of sides may be the first
        return
    turn = geometry.rotations(torch.tensor([angle]).rad2deg().double())
    pair = []
    for each in (box, anchor):
        centre = geometry.transform_points(tensor(each[:2])[None], turn)[0, 0].tolist()
        pair.append(
            tensor(
                (*centre, *each[2:4], each[4] + torch.atan2(turn[0, 1, 0], turn[0, 0, 0]).item())
            )
        )
    torch.testing.assert_close(oriented_boxes.encode(*pair), before, atol=1e-4, rtol=1e-4)


@given(NEAR_BOXES)
def test_a_cut_box_keeps_its_angle_and_the_area_that_is_inside(box: Box) -> None:
    size = tensor((30, 20))[0]
    (found,), (left,) = oriented_boxes.cut(tensor(box), size)
    polygon = clipped(corners_of(box), [(0, 0), (30, 0), (30, 20), (0, 20)])
    assert left.item() == pytest.approx(abs(area_of(polygon)), abs=1e-6)
    if left > 1e-3:
        turn = (found[4].item() - box[4]) % (math.pi / 2)
        assert min(turn, math.pi / 2 - turn) < 1e-6
        rest = abs(area_of(clipped(corners_of(tuple(found.tolist())), corners_of(box))))
        assert rest >= left.item() - 1e-6


@given(UPRIGHT)
def test_an_upright_box_is_cut_like_one(box: tuple[float, ...]) -> None:
    size = tensor((100, 80))[0]
    oriented = oriented_boxes.canonical(oriented_boxes.from_boxes(tensor(box)))
    found, left = oriented_boxes.cut(oriented, size)
    wanted = boxes.clip(tensor(box)[None], size[None])[0]
    assert left.item() == pytest.approx(boxes.areas(wanted).item(), abs=1e-9)
    if left > 0:
        torch.testing.assert_close(oriented_boxes.enclosing(found), wanted, atol=1e-9, rtol=1e-9)


def test_a_box_inside_is_not_changed_by_a_bit() -> None:
    box = turned(10, 10, 8, 3, 33.3)
    found, left = oriented_boxes.cut(box, tensor((20, 20))[0])
    assert torch.equal(found, box)
    assert left.item() == pytest.approx(24)


def ious(ones: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    rows = torch.arange(len(ones))
    return oriented_boxes.iou(ones, others, rows, rows)


@given(st.one_of(NEAR_BOXES, BOXES), NEAR_BOXES)
def test_iou_is_that_of_lists_of_corners(one: Box, other: Box) -> None:
    found = ious(tensor(one), tensor(other)).item()
    assert found == pytest.approx(iou_of(one, other), abs=1e-9)
    assert found == pytest.approx(ious(tensor(other), tensor(one)).item(), abs=1e-9)


@given(
    NEAR_BOXES, NEAR_BOXES, st.integers(0, 3), st.sampled_from([0.0, 1e-17, -1e-15, 1e-12, 1e-7])
)
def test_iou_of_sides_that_are_parallel_or_almost(
    one: Box, other: Box, turn: int, noise: float
) -> None:
    other = (*other[:4], one[4] + turn * math.pi / 2 + noise)
    found = ious(tensor(one), tensor(other)).item()
    assert found == pytest.approx(iou_of(one, other), abs=1e-9)


@given(NEAR_BOXES)
def test_a_box_has_an_iou_of_one_with_itself_and_of_zero_with_its_neighbour(box: Box) -> None:
    x, y, width, height, angle = box
    assert ious(tensor(box), tensor(box)).item() == 1.0
    shift = (x + width * math.cos(angle), y + width * math.sin(angle))
    assert ious(tensor(box), tensor((*shift, *box[2:]))).item() < 1e-12
    far = (x + 60 + width + height, *box[1:])
    assert ious(tensor(box), tensor(far)).item() == 0.0


def test_more_pairs_than_fit_into_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = torch.rand(7, 5, generator=torch.Generator().manual_seed(0)).double() * 3 + 1
    whole = ious(boxes, boxes.flip(0))
    monkeypatch.setattr(oriented_boxes, "_CHUNK", 3)
    assert torch.equal(ious(boxes, boxes.flip(0)), whole)
    assert ious(boxes[:0], boxes[:0]).shape == (0,)
