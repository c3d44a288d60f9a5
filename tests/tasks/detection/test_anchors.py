import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visionlab.tasks.detection.model.anchors import Anchors

PAPER = Anchors(
    sizes_px=[32, 64, 128, 256, 512],
    ratios=[0.5, 1.0, 2.0],
    scales=[1.0, 2 ** (1 / 3), 2 ** (2 / 3)],
)
STRIDES = (8, 16, 32, 64, 128)


def one_a_cell(size_px: float) -> Anchors:
    return Anchors(sizes_px=[size_px], ratios=[1.0], scales=[1.0])


def naive_anchors(
    anchors: Anchors, shapes: Sequence[tuple[int, int]], strides: Sequence[int]
) -> list[list[float]]:
    """Return the anchors one by one, with Python's numbers."""
    found = []
    for size, (rows, columns), stride in zip(anchors.sizes_px, shapes, strides, strict=True):
        for row in range(rows):
            for column in range(columns):
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                for ratio in anchors.ratios:
                    for scale in anchors.scales:
                        height = size * scale * math.sqrt(ratio)
                        width = height / ratio
                        found.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    return found


def test_the_anchors_of_two_by_two_cells_are_those_checked_by_eye() -> None:
    found = one_a_cell(32.0)([(2, 2)], [8])
    assert found.dtype == torch.float32
    assert found.tolist() == [
        [-12, -12, 20, 20],
        [-4, -12, 28, 20],
        [-12, -4, 20, 28],
        [-4, -4, 28, 28],
    ]


def test_a_ratio_is_height_over_width_and_keeps_the_area() -> None:
    tall = Anchors(sizes_px=[16], ratios=[4.0], scales=[1.0]).cell(0)
    assert tall.tolist() == [[-4, -16, 4, 16]]
    wide = Anchors(sizes_px=[16], ratios=[0.25], scales=[1.0]).cell(0)
    assert wide.tolist() == [[-16, -4, 16, 4]]


def test_scales_are_innermost_in_a_cell() -> None:
    cell = Anchors(sizes_px=[8], ratios=[1.0, 4.0], scales=[1.0, 2.0]).cell(0)
    assert cell.tolist() == [[-4, -4, 4, 4], [-8, -8, 8, 8], [-2, -8, 2, 8], [-4, -16, 4, 16]]


def test_the_paper_has_nine_anchors_a_cell_of_known_sides() -> None:
    assert PAPER.num_per_cell == 9
    for level, size in enumerate(PAPER.sizes_px):
        cell = PAPER.cell(level).double()
        widths, heights = (cell[:, 2:] - cell[:, :2]).unbind(1)
        areas = [(size * 2 ** (third / 3)) ** 2 for third in (0, 1, 2)]
        assert (widths * heights).tolist() == pytest.approx(areas * 3, rel=1e-6)
        ratios = [0.5] * 3 + [1.0] * 3 + [2.0] * 3
        assert (heights / widths).tolist() == pytest.approx(ratios, rel=1e-6)
        assert (cell[:, :2] == -cell[:, 2:]).all()


def test_a_canvas_of_96_by_160_has_the_anchors_of_each_level_in_turn() -> None:
    shapes = [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2)]
    found = PAPER(shapes, STRIDES)
    assert found.shape == (9 * (240 + 60 + 15 + 6 + 2), 4)
    middles = (found[:, :2] + found[:, 2:]) / 2
    assert middles[9 * 21].tolist() == pytest.approx([12.0, 12.0])  # P3: second row and column
    assert middles[9 * 240].tolist() == pytest.approx([8.0, 8.0])  # the first of P4
    assert middles[-1].tolist() == pytest.approx([192.0, 64.0])  # P7, and outside the canvas


@given(
    shapes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=2, max_size=2),
    strides=st.lists(st.sampled_from([4, 8, 10]), min_size=2, max_size=2),
    sizes=st.lists(st.floats(1, 100), min_size=2, max_size=2),
    ratios=st.lists(st.floats(0.1, 10), min_size=1, max_size=3),
    scales=st.lists(st.floats(0.1, 10), min_size=1, max_size=3),
)
def test_anchors_equal_those_of_a_loop(
    shapes: list[tuple[int, int]],
    strides: list[int],
    sizes: list[float],
    ratios: list[float],
    scales: list[float],
) -> None:
    anchors = Anchors(sizes_px=sizes, ratios=ratios, scales=scales)
    expected = torch.tensor(naive_anchors(anchors, shapes, strides))
    torch.testing.assert_close(anchors(shapes, strides), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["sizes_px", "ratios", "scales"])
@pytest.mark.parametrize("values", [[], [1.0, 0.0], [-2.0], [1e30]])
def test_numbers_that_are_no_sizes_are_refused(name: str, values: list[float]) -> None:
    settings: dict[str, Any] = {"sizes_px": [8.0], "ratios": [1.0], "scales": [1.0]}
    with pytest.raises(ValueError, match=rf"^{name} must be numbers in .*, got \[") as caught:
        Anchors(**{**settings, name: values})
    assert str(caught.value).endswith(str(values))


def test_more_levels_than_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        one_a_cell(8.0)([(1, 1), (1, 1)], [8])
