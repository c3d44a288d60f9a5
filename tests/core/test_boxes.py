import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visionlab.core import boxes
from visionlab.tasks.detection.records import DenseOutput

COORDINATES = st.floats(-5000.0, 5000.0)
SIDES = st.floats(0.5, 4096.0)
ANY_BOXES = st.lists(st.tuples(*[COORDINATES] * 4), min_size=1, max_size=5)  # inverted ones too
REAL_BOXES = st.lists(
    st.tuples(COORDINATES, COORDINATES, SIDES, SIDES).map(
        lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
    ),
    min_size=3,
    max_size=3,
)


def tensor(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_centres_and_sizes_by_hand() -> None:
    centres, sizes = boxes.centres_and_sizes(tensor((1, 2, 5, 12), (0, 0, 3, 1)))
    assert centres.tolist() == [[3, 7], [1.5, 0.5]]
    assert sizes.tolist() == [[4, 10], [3, 1]]


@pytest.mark.parametrize(
    ("box", "anchor", "deltas"),
    [
        ((10, 20, 30, 60), (10, 20, 30, 60), (0, 0, 0, 0)),
        # the centre 5 to the right and 4 up, of an anchor 20 wide and 40 high
        ((15, 16, 35, 56), (10, 20, 30, 60), (0.25, -0.1, 0, 0)),
        # twice as wide, half as high, about the same centre
        ((0, 30, 40, 50), (10, 20, 30, 60), (0, 0, math.log(2), -math.log(2))),
        # the same corner, so the centre moves with the size
        ((10, 20, 50, 40), (10, 20, 30, 60), (0.5, -0.25, math.log(2), -math.log(2))),
    ],
)
def test_offsets_by_hand(
    box: tuple[float, ...], anchor: tuple[float, ...], deltas: tuple[float, ...]
) -> None:
    found = boxes.encode(tensor(box), tensor(anchor))
    assert found[0].tolist() == pytest.approx(deltas, abs=1e-12)
    assert boxes.decode(tensor(deltas), tensor(anchor))[0].tolist() == pytest.approx(box)


@given(found=REAL_BOXES, anchors=REAL_BOXES)
def test_decoding_undoes_encoding(
    found: list[tuple[float, ...]], anchors: list[tuple[float, ...]]
) -> None:
    ratios = boxes.encode(tensor(*found), tensor(*anchors))[:, 2:]
    back = boxes.decode(boxes.encode(tensor(*found), tensor(*anchors)), tensor(*anchors))
    can_grow_so_far = (ratios <= boxes.MAX_LOG_RATIO).all(dim=1)
    torch.testing.assert_close(
        back[can_grow_so_far], tensor(*found)[can_grow_so_far], atol=1e-6, rtol=0
    )


def test_batches_of_offsets_share_their_anchors() -> None:
    anchors = tensor((0, 0, 10, 10), (5, 5, 10, 25))
    deltas = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0)).double()
    together = boxes.decode(deltas, anchors)
    assert together.shape == (3, 2, 4)
    for image in range(3):
        assert torch.equal(together[image], boxes.decode(deltas[image], anchors))
    torch.testing.assert_close(boxes.encode(together, anchors), deltas)


@pytest.mark.parametrize("delta", [math.log(62.5), 5.0, 1000.0, math.inf])
def test_growth_ends_at_a_factor_of_62_5(delta: float) -> None:
    found = boxes.decode(tensor((0, 0, delta, 0), (0, 0, 0, delta)), tensor((0, 0, 4, 2)))
    assert found[0].tolist() == pytest.approx([-123, 0, 127, 2])
    assert found[1].tolist() == pytest.approx([0, -61.5, 4, 63.5])


def test_a_box_may_shrink_to_nothing() -> None:
    found = boxes.decode(tensor((0, 0, -1000, -math.inf)), tensor((0, 0, 4, 2)))
    assert found[0].tolist() == [2, 1, 2, 1]


def test_clipped_boxes_by_hand() -> None:
    found = boxes.clip(tensor((-1, 2, 5, 12), (8, -3, 30, -1), (1, 2, 3, 4)), torch.tensor([10, 9]))
    assert found.tolist() == [[0, 2, 5, 9], [8, 0, 10, 0], [1, 2, 3, 4]]
    assert found.dtype == torch.float64


def test_boxes_are_cut_off_at_the_border_of_their_own_image() -> None:
    same = tensor((2, 3, 100, 100)).expand(2, 1, 4)
    found = boxes.clip(same, tensor((10, 20), (30, 7)))
    assert found.tolist() == [[[2, 3, 10, 20]], [[2, 3, 30, 7]]]


@given(found=ANY_BOXES, width=st.integers(1, 4096), height=st.integers(1, 4096))
def test_clipped_boxes_lie_inside_and_stay_when_clipped_again(
    found: list[tuple[float, ...]], width: int, height: int
) -> None:
    sizes = torch.tensor([width, height])
    once = boxes.clip(tensor(*found), sizes)
    assert torch.equal(boxes.clip(once, sizes), once)
    assert (once >= 0).all()
    assert (once[:, [0, 2]] <= width).all()
    assert (once[:, [1, 3]] <= height).all()
    outside = once != tensor(*found)
    limits = tensor((width, height, width, height)).expand_as(once)
    assert (((once == 0) | (once == limits)) | ~outside).all()


def test_areas_by_hand() -> None:
    found = boxes.areas(
        tensor((1, 2, 5, 12), (5, 2, 1, 12), (1, 12, 5, 2), (5, 12, 1, 2), (3, 1, 3, 9))
    )
    assert found.tolist() == [40, 0, 0, 0, 0]
    assert boxes.areas(torch.zeros(2, 0, 4)).shape == (2, 0)


@given(found=ANY_BOXES)
def test_areas_are_never_negative_and_those_of_upright_boxes(
    found: list[tuple[float, ...]],
) -> None:
    expected = [max(0, x2 - x1) * max(0, y2 - y1) for x1, y1, x2, y2 in found]
    assert boxes.areas(tensor(*found)).tolist() == pytest.approx(expected)


def test_anchors_are_counted_by_level() -> None:
    output = DenseOutput(
        logits=torch.zeros(1, 63, 2),
        deltas=torch.zeros(1, 63, 4),
        anchors=torch.zeros(63, 4),
        level_shapes=[(4, 4), (2, 2), (1, 1)],
        box_std=torch.ones(4),
    )
    assert output.level_sizes == [48, 12, 3]
