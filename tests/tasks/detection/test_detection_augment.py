import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visionlab.core import geometry
from visionlab.tasks.detection.augment import BoxAugment, keep_visible

KEYS = torch.arange(400) * 7919 + 3
SIDES = torch.tensor([[640.0, 480.0], [33.0, 81.0], [1024.0, 576.0], [5.0, 5.0]]).double()
SIZES = SIDES.repeat(100, 1)
OFF: dict[str, Any] = {
    "flip_prob": 0.0,
    "vertical_flip_prob": 0.0,
    "scale": [1.0, 1.0],
    "rotation_degrees": 0.0,
    "min_visible": 0.3,
    "colours": None,
}
STRONG = {
    "flip_prob": 0.5,
    "vertical_flip_prob": 0.5,
    "scale": [0.5, 2.0],
    "rotation_degrees": 20.0,
}


def matrices(
    *, keys: Tensor = KEYS, sizes: Tensor = SIZES, seed: int = 1, epoch: int = 0, **changes: Any
) -> Tensor:
    return BoxAugment(**OFF | changes).matrices(keys, sizes, seed=seed, epoch=epoch)


def corners(sizes: Tensor = SIZES) -> Tensor:
    """Return the corners of images, (B, 4, 2), clockwise from the upper left one."""
    unit = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=torch.float64)
    return unit * sizes[:, None]


def factors(found: Tensor) -> Tensor:
    return torch.linalg.det(found).abs().sqrt()


def test_all_off_changes_nothing() -> None:
    found = matrices()
    assert torch.equal(found, geometry.identities(400, device=torch.device("cpu")))


def test_types_and_shapes() -> None:
    found = matrices(**STRONG)
    assert (found.shape, found.dtype) == ((400, 3, 3), torch.float64)
    assert matrices(keys=KEYS[:0], sizes=SIZES[:0], **STRONG).shape == (0, 3, 3)


@given(chosen=st.lists(st.integers(0, 399), min_size=1, max_size=8), epoch=st.integers(0, 300))
def test_a_matrix_depends_on_neither_batch_nor_position(chosen: list[int], epoch: int) -> None:
    together = matrices(epoch=epoch, **STRONG)
    apart = matrices(keys=KEYS[chosen], sizes=SIZES[chosen], epoch=epoch, **STRONG)
    assert torch.equal(apart, together[chosen])


def test_matrices_change_with_epoch_seed_and_key() -> None:
    first = matrices(**STRONG)
    assert torch.equal(first, matrices(**STRONG))
    for other in (
        matrices(epoch=1, **STRONG),
        matrices(seed=2, **STRONG),
        matrices(keys=KEYS + 1, **STRONG),
    ):
        assert (first == other).all(dim=(1, 2)).sum() == 0


def test_nothing_is_drawn_from_the_global_generator() -> None:
    state = torch.get_rng_state()
    matrices(**STRONG)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_setting_that_is_off_does_not_shift_the_others() -> None:
    whole = matrices(**STRONG)
    # what turns and mirrors, apart from size and place
    parts = whole[:, :2, :2] / factors(whole)[:, None, None]
    upright = matrices(**STRONG | {"rotation_degrees": 0.0})
    unmirrored = matrices(**STRONG | {"flip_prob": 0.0, "vertical_flip_prob": 0.0})
    kept = matrices(**STRONG | {"scale": [1.0, 1.0]})
    torch.testing.assert_close(factors(upright), factors(whole))
    torch.testing.assert_close(factors(unmirrored), factors(whole))
    torch.testing.assert_close(kept[:, :2, :2], parts)
    mirrors = (upright[:, :2, :2] / factors(whole)[:, None, None]).round()
    turns = unmirrored[:, :2, :2] / factors(whole)[:, None, None]
    torch.testing.assert_close(turns @ mirrors, parts)
    # an image turns about its centre and is mirrored onto itself, so neither moves its centre
    centre = SIZES[:, None] / 2
    places = [geometry.transform_points(centre, found) for found in (whole, upright, unmirrored)]
    torch.testing.assert_close(places[0], places[1])
    torch.testing.assert_close(places[0], places[2])
    one_flip = matrices(**STRONG | {"vertical_flip_prob": 0.0, "rotation_degrees": 0.0})
    assert torch.equal(one_flip[:, 0], upright[:, 0])
    assert (one_flip[:, 1, 1] > 0).all()


@pytest.mark.parametrize(("setting", "axis"), [("flip_prob", 0), ("vertical_flip_prob", 1)])
def test_flips_are_exact_along_their_axis(setting: str, axis: int) -> None:
    point = torch.tensor([3.0, 2.0]).double().expand(400, 1, 2)
    found = geometry.transform_points(point, matrices(**{setting: 1.0}))[:, 0]
    assert torch.equal(found[:, axis], SIZES[:, axis] - point[:, 0, axis])
    assert torch.equal(found[:, 1 - axis], point[:, 0, 1 - axis])


@pytest.mark.parametrize("setting", ["flip_prob", "vertical_flip_prob"])
@pytest.mark.parametrize("prob", [0.25, 0.5])
def test_flips_are_as_frequent_as_asked(setting: str, prob: float) -> None:
    sizes = SIZES[:1].expand(10_000, 2)
    found = matrices(keys=torch.arange(10_000), sizes=sizes, **{setting: prob})
    assert (torch.linalg.det(found) < 0).double().mean() == pytest.approx(prob, abs=0.02)


def test_flips_along_both_axes_are_independent() -> None:
    sizes = SIZES[:1].expand(10_000, 2)
    found = matrices(keys=torch.arange(10_000), sizes=sizes, flip_prob=0.5, vertical_flip_prob=0.5)
    both = (found[:, 0, 0] < 0) & (found[:, 1, 1] < 0)
    assert both.double().mean() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("scale", [(0.5, 2.0), (0.67, 1.5), (1.0, 3.0), (0.8, 0.8)])
def test_factors_are_uniform_in_their_logarithm(scale: tuple[float, float]) -> None:
    sizes = SIZES[:1].expand(10_000, 2)
    found = matrices(keys=torch.arange(10_000), sizes=sizes, scale=scale)
    assert torch.equal(found[:, 0, 0], found[:, 1, 1])
    least, largest = scale
    assert least - 1e-12 <= found[:, 0, 0].min() <= least * 1.01
    assert largest * 0.99 <= found[:, 0, 0].max() <= largest + 1e-12
    assert found[:, 0, 0].log().mean().exp() == pytest.approx((least * largest) ** 0.5, rel=0.02)


@pytest.mark.parametrize("flips", [0.0, 0.5])
def test_an_image_made_larger_covers_the_picture(flips: float) -> None:
    found = matrices(flip_prob=flips, vertical_flip_prob=flips, scale=[1.0, 2.5])
    back = geometry.transform_points(corners(), torch.linalg.inv(found))
    assert (back >= -1e-9).all()
    assert (back <= SIZES[:, None] + 1e-9).all()


@pytest.mark.parametrize("flips", [0.0, 0.5])
def test_an_image_made_smaller_lies_inside_the_picture(flips: float) -> None:
    found = matrices(flip_prob=flips, vertical_flip_prob=flips, scale=[0.3, 1.0])
    moved = geometry.transform_points(corners(), found)
    assert (moved >= -1e-9).all()
    assert (moved <= SIZES[:, None] + 1e-9).all()


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_place_is_uniform_along_both_axes(factor: float) -> None:
    sizes = SIZES[:1].expand(10_000, 2)
    found = matrices(keys=torch.arange(10_000), sizes=sizes, scale=[factor, factor])
    shares = found[:, :2, 2] / (sizes * (1 - factor))
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert shares.mean(dim=0).tolist() == pytest.approx([0.5, 0.5], abs=0.02)
    assert shares.std(dim=0).tolist() == pytest.approx([12**-0.5] * 2, abs=0.02)
    assert abs(torch.corrcoef(shares.T)[0, 1]) < 0.05


@pytest.mark.parametrize("degrees", [10.0, 180.0])
def test_images_turn_about_their_centre_either_way(degrees: float) -> None:
    sizes = SIZES[:1].expand(10_000, 2)
    found = matrices(keys=torch.arange(10_000), sizes=sizes, rotation_degrees=degrees)
    angles = torch.atan2(found[:, 1, 0], found[:, 0, 0]).rad2deg()
    assert angles.abs().max() <= degrees
    assert angles.quantile(torch.tensor([0.05, 0.5, 0.95]).double()).tolist() == pytest.approx(
        [-0.9 * degrees, 0.0, 0.9 * degrees], abs=0.04 * degrees
    )
    centre = sizes[:, None] / 2
    torch.testing.assert_close(geometry.transform_points(centre, found), centre)


def test_boxes_worth_keeping_by_hand() -> None:
    boxes = torch.tensor(
        [
            [2.0, 2.0, 8.0, 6.0],  # inside
            [-3.0, 0.0, 7.0, 10.0],  # 70 % inside
            [-3.001, 0.0, 7.0, 10.0],  # a little less
            [-5.0, -5.0, 0.0, 0.0],  # touches from outside
            [12.0, 2.0, 18.0, 4.0],  # outside
            [3.0, 3.0, 3.0, 9.0],  # has no area
        ]
    )
    inside, is_kept = keep_visible(
        boxes[None], torch.tensor([[10, 10]]), enough_visible_px=math.inf, min_visible=0.7
    )
    assert is_kept.tolist() == [[True, True, False, False, False, False]]
    assert inside[0, :3].tolist() == [[2, 2, 8, 6], [0, 0, 7, 10], [0, 0, 7, 10]]
    _, is_kept = keep_visible(
        boxes[None], torch.tensor([[10, 10]]), enough_visible_px=math.inf, min_visible=0.0
    )
    assert is_kept.tolist() == [[True, True, True, False, False, False]]
    _, is_kept = keep_visible(
        boxes[None], torch.tensor([[10, 10]]), enough_visible_px=math.inf, min_visible=1.0
    )
    assert is_kept.tolist() == [[True, False, False, False, False, False]]


@given(
    seed=st.integers(0, 9999),
    min_visible=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    enough=st.sampled_from([1.0, 60.0, math.inf]),
)
def test_what_is_visible_equals_a_loop_over_boxes(
    seed: int, min_visible: float, enough: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # whole numbers: whether a share is reached is then no matter of rounding
    low = torch.randint(-20, 20, (2, 6, 2), generator=generator).double()
    high = low + torch.randint(0, 30, (2, 6, 2), generator=generator)
    boxes, sizes = torch.cat([low, high], dim=-1), torch.tensor([[16.0, 12.0], [7.0, 25.0]])
    inside, is_kept = keep_visible(boxes, sizes, min_visible=min_visible, enough_visible_px=enough)
    for image, (width, height) in enumerate(sizes.tolist()):
        for number, (x1, y1, x2, y2) in enumerate(boxes[image].tolist()):
            left, right = (min(max(x, 0), width) for x in (x1, x2))
            top, bottom = (min(max(y, 0), height) for y in (y1, y2))
            assert inside[image, number].tolist() == [left, top, right, bottom]
            seen, whole = (right - left) * (bottom - top), (x2 - x1) * (y2 - y1)
            is_enough = seen >= enough or (seen > 0 and seen / whole >= min_visible)
            assert bool(is_kept[image, number]) == is_enough


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flip_prob": 1.5}, r"flip_prob must be in \[0, 1\], got 1.5"),
        ({"flip_prob": float("nan")}, r"flip_prob must be in \[0, 1\], got nan"),
        ({"vertical_flip_prob": -0.1}, r"vertical_flip_prob must be in \[0, 1\], got -0.1"),
        ({"min_visible": 2.0}, r"min_visible must be in \[0, 1\], got 2.0"),
        ({"scale": [0.0, 1.0]}, r"largest factor, above 0, got \[0.0, 1.0\]"),
        ({"scale": [1.5, 0.5]}, r"largest factor, above 0, got \[1.5, 0.5\]"),
        ({"scale": [1.0]}, r"scale must be the least and the largest factor, above 0, got \[1.0\]"),
        ({"scale": [0.5, 1.0, 2.0]}, r"largest factor, above 0, got \[0.5, 1.0, 2.0\]"),
        ({"scale": [0.5, float("nan")]}, r"largest factor, above 0, got \[0.5, nan\]"),
        ({"scale": [0.5, float("inf")]}, r"largest factor, above 0, got \[0.5, inf\]"),
        ({"rotation_degrees": -1.0}, r"rotation_degrees must be in \[0, 180\], got -1.0"),
        ({"rotation_degrees": 181.0}, r"rotation_degrees must be in \[0, 180\], got 181.0"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BoxAugment(**OFF | changes)
