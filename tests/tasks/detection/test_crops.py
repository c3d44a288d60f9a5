from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visionlab.tasks.detection.crops import Crops

CROPS = Crops(size_px=1000, input_px=500, overlap_px=200, min_visible=0.6, enough_visible_px=None)


def grid(width: int, height: int, crops: Crops = CROPS) -> list[list[float]]:
    pages, corners = crops.grids(torch.tensor([[width, height]]))
    assert pages.tolist() == [0] * len(corners)
    found: list[list[float]] = corners.tolist()
    return found


def test_grids_by_hand() -> None:
    assert grid(1000, 1000) == [[0, 0]]
    assert grid(640, 480) == [[0, 0]]
    assert grid(1800, 900) == [[0, 0], [800, 0]]
    assert grid(1801, 900) == [[0, 0], [400, 0], [801, 0]]
    assert grid(1400, 1500) == [[0, 0], [400, 0], [0, 500], [400, 500]]  # row by row


def test_a_page_of_sheet_music_needs_several_crops() -> None:
    crops = Crops(
        size_px=2000, input_px=1000, overlap_px=400, min_visible=0.6, enough_visible_px=None
    )
    assert grid(2707, 3828, crops) == [[x, y] for y in (0, 914, 1828) for x in (0, 707)]
    assert crops.size(width_px=2707, height_px=3828) == (1000, 1000)


def test_grids_of_several_pages() -> None:
    pages, corners = CROPS.grids(torch.tensor([[1800, 900], [500, 500], [900, 1800]]))
    assert pages.tolist() == [0, 0, 1, 2, 2]
    assert corners.tolist() == [[0, 0], [800, 0], [0, 0], [0, 0], [0, 800]]


@given(st.integers(1, 5000), st.integers(1, 2000), st.floats(0, 0.9))
def test_crops_cover_a_page_and_overlap(length: int, size: int, share: float) -> None:
    crops = replace(CROPS, size_px=size, overlap_px=int(share * size))
    starts = [x for x, _ in grid(length, 1, crops)]
    assert starts[0] == 0
    assert starts[-1] == max(0, length - size)
    gaps = [after - before for before, after in pairwise(starts)]
    assert all(0 < gap <= size - crops.overlap_px for gap in gaps)


def test_random_crops_lie_in_their_page_and_reach_its_borders() -> None:
    keys = torch.arange(4000)
    sizes = torch.tensor([[1010, 400]]).expand(4000, 2)
    found = CROPS.draw(keys, sizes, seed=3, epoch=0)
    assert found[:, 0].unique().tolist() == list(range(11))
    assert (found[:, 1] == 0).all()
    assert torch.equal(found[7:9], CROPS.draw(keys[7:9], sizes[7:9], seed=3, epoch=0))
    assert not torch.equal(found, CROPS.draw(keys, sizes, seed=3, epoch=1))
    assert not torch.equal(found, CROPS.draw(keys, sizes, seed=4, epoch=0))


def test_sizes_of_inputs() -> None:
    assert CROPS.size(width_px=4000, height_px=700) == (500, 350)
    assert CROPS.scale(width_px=4000, height_px=700) == 0.5
    assert CROPS.reduction(4000, 700, zoom=1.0) == 2
    assert CROPS.reduction(4000, 700, zoom=2.0) == 1
    assert CROPS.long_px == 500


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size_px": 0}, "^size_px must be >= 1, got 0$"),
        ({"input_px": 0}, "^input_px must be >= 1, got 0$"),
        ({"overlap_px": 1000}, r"^overlap_px must be in \[0, 1000\), got 1000$"),
        ({"overlap_px": -1}, r"^overlap_px must be in \[0, 1000\), got -1$"),
        ({"min_visible": 1.5}, r"^min_visible must be in \[0, 1\], got 1\.5$"),
        ({"enough_visible_px": 0}, "^enough_visible_px must be > 0, got 0$"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CROPS, **settings)
