import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visionlab.config import command_line
from visionlab.core import geometry
from visionlab.images import photometric
from visionlab.images.rendering import Change
from visionlab.tasks.keypoints.augment import PointAugment

KEYS = torch.arange(400) * 7919 + 3
MANY = torch.arange(20_000)
SIDE = 224
OFF: dict[str, Any] = {
    "choose": "each",
    "affine_prob": 0.0,
    "rotation_degrees": 0.0,
    "scale": [1.0, 1.0],
    "stretch": [1.0, 1.0],
    "shift": 0.0,
    "crop_prob": 0.0,
    "crop_min_scale": 1.0,
    "mirror_prob": 0.0,
    "bars_prob": 0.0,
    "bars_max": 0.0,
    "colour_prob": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "grey_prob": 0.0,
    "blur_prob": 0.0,
    "blur_px": [1],
}
RANGES = {
    "rotation_degrees": 30.0,
    "scale": [0.8, 1.3],
    "stretch": [0.5, 1.5],
    "shift": 0.1,
    "crop_min_scale": 0.6,
    "bars_max": 0.2,
    "brightness": 0.3,
    "contrast": 0.4,
    "blur_px": [3, 5],
}
PROBS = {
    "affine_prob": 0.6,
    "crop_prob": 0.4,
    "mirror_prob": 0.5,
    "bars_prob": 0.3,
    "colour_prob": 0.7,
    "grey_prob": 0.2,
    "blur_prob": 0.55,
}
STRONG = RANGES | PROBS
ALWAYS = RANGES | dict.fromkeys(PROBS, 1.0)
EYE = torch.eye(4, dtype=torch.float64)


def changed(
    *, keys: Tensor = KEYS, seed: int = 1, epoch: int = 0, size_px: int = SIDE, **settings: Any
) -> Change:
    return PointAugment(**OFF | settings)(keys, size_px=size_px, seed=seed, epoch=epoch)


def preset(name: str) -> PointAugment:
    command_line.register()
    with initialize_config_dir(str(Path(command_line.CONF)), version_base="1.3"):
        made: PointAugment = instantiate(
            compose("train", overrides=["task=keypoints", f"augment={name}"]).augment
        )
    return made


def moved(change: Change) -> Tensor:
    """Return which pictures are moved, (B,) bool."""
    return (change.matrices != torch.eye(3, dtype=torch.float64)).any(dim=(1, 2))


def recoloured(change: Change) -> Tensor:
    return (change.colours != EYE).any(dim=(1, 2))


def is_share(found: Tensor, prob: float) -> bool:
    """Return whether a share of many draws is within 4 standard deviations of a probability."""
    return abs(float(found.double().mean()) - prob) <= 4 * math.sqrt(prob * (1 - prob) / len(found))


def is_uniform(found: Tensor, low: float, high: float) -> bool:
    """Return whether numbers stay in a range and fill it evenly."""
    found = found.double()
    tenths = torch.histc(((found - low) / (high - low)).clamp(0, 1), bins=10, min=0, max=1)
    spread = 4 * math.sqrt(0.09 * len(found))
    is_even = bool(((tenths - len(found) / 10).abs() < spread).all())
    return is_even and low - 1e-9 <= float(found.min()) and float(found.max()) <= high + 1e-9


def test_all_off_changes_nothing() -> None:
    found = changed()
    assert torch.equal(found.matrices, geometry.identities(400, device=torch.device("cpu")))
    assert not found.bars.any()
    assert torch.equal(found.colours, EYE.expand(400, 4, 4))
    assert (found.blur_px == 1).all()
    never = changed(**RANGES)  # strong changes that are made with probability 0
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, never, strict=True))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_types_and_shapes(count: int) -> None:
    found = changed(keys=KEYS[:count], **STRONG)
    assert (found.matrices.shape, found.matrices.dtype) == ((count, 3, 3), torch.float64)
    assert (found.bars.shape, found.bars.dtype) == ((count, 4), torch.float32)
    assert (found.colours.shape, found.colours.dtype) == ((count, 4, 4), torch.float64)
    assert (found.blur_px.shape, found.blur_px.dtype) == ((count,), torch.int64)


@given(
    chosen=st.lists(st.integers(0, 399), min_size=1, max_size=8),
    epoch=st.integers(0, 300),
    choose=st.sampled_from(["each", "one"]),
)
def test_a_change_depends_on_neither_batch_nor_position(
    chosen: list[int], epoch: int, choose: str
) -> None:
    settings = STRONG | {"choose": choose}
    if choose == "one":
        settings |= {name: prob / 4 for name, prob in PROBS.items()}
    together = changed(epoch=epoch, **settings)
    apart = changed(keys=KEYS[chosen], epoch=epoch, **settings)
    for whole, part in zip(together, apart, strict=True):
        assert torch.equal(part, whole[chosen])


def test_changes_differ_by_epoch_seed_and_key() -> None:
    first = changed(**ALWAYS)
    again = changed(**ALWAYS)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, again, strict=True))
    for other in (
        changed(epoch=1, **ALWAYS),
        changed(seed=2, **ALWAYS),
        changed(keys=KEYS + 1, **ALWAYS),
    ):
        assert not (first.matrices == other.matrices).all(dim=(1, 2)).any()
        assert not (first.bars == other.bars).all(dim=1).any()
        assert not (first.colours == other.colours).all(dim=(1, 2)).any()


def test_nothing_is_drawn_from_the_global_generator() -> None:
    state = torch.get_rng_state()
    changed(**STRONG)
    assert torch.equal(torch.get_rng_state(), state)


def test_moves_follow_one_another_and_none_shifts_the_draws_of_the_others() -> None:
    """Rotation, scale, stretch, shift, crop, mirror: apart, they make up what they are together."""
    parts: list[dict[str, Any]] = [
        {"affine_prob": 0.6, "rotation_degrees": 30.0},
        {"affine_prob": 0.6, "scale": [0.8, 1.3]},
        {"affine_prob": 0.6, "stretch": [0.5, 1.5]},
        {"affine_prob": 0.6, "shift": 0.1},
        {"crop_prob": 0.4, "crop_min_scale": 0.6},
        {"mirror_prob": 0.5},
    ]
    product = geometry.identities(400, device=torch.device("cpu"))
    for part in parts:
        one = changed(**part).matrices
        assert not torch.equal(one, changed().matrices)
        product = one @ product
    torch.testing.assert_close(changed(**STRONG).matrices, product)


def test_colours_follow_one_another_and_none_shifts_the_draws_of_the_others() -> None:
    whole = changed(**STRONG)
    brighter = changed(colour_prob=0.7, brightness=0.3).colours
    contrasted = changed(colour_prob=0.7, contrast=0.4).colours
    grey = changed(grey_prob=0.2).colours
    torch.testing.assert_close(whole.colours, grey @ contrasted @ brighter)
    assert torch.equal(changed(bars_prob=0.3, bars_max=0.2).bars, whole.bars)
    assert torch.equal(changed(blur_prob=0.55, blur_px=[3, 5]).blur_px, whole.blur_px)


def test_changes_are_as_frequent_as_asked_and_independent_of_each_other() -> None:
    found = changed(keys=MANY, **STRONG | {"affine_prob": 0.0, "crop_prob": 0.0})
    made = {
        "mirror": torch.linalg.det(found.matrices) < 0,
        "bars": found.bars.any(dim=1),
        "grey": found.colours[:, 0, 0] == found.colours[:, 1, 0],
        "blur": found.blur_px > 1,
        "affine": moved(changed(keys=MANY, affine_prob=0.6, rotation_degrees=30.0)),
        "crop": moved(changed(keys=MANY, crop_prob=0.4, crop_min_scale=0.6)),
        "colour": recoloured(changed(keys=MANY, colour_prob=0.7, brightness=0.3)),
    }
    for name, which in made.items():
        assert is_share(which, PROBS[f"{name}_prob"]), name
        for other, those in made.items():
            if other != name:
                both = PROBS[f"{name}_prob"] * PROBS[f"{other}_prob"]
                assert is_share(which & those, both), (name, other)


def test_amounts_are_independent_of_each_other() -> None:
    def drawn(**settings: Any) -> Change:
        return changed(keys=MANY, **settings)

    def moves(**settings: Any) -> Tensor:
        return drawn(affine_prob=1.0, **settings).matrices

    shifts = moves(shift=0.1)
    crops = drawn(crop_prob=1.0, crop_min_scale=0.6).matrices
    places = crops[:, :2, 2] / (crops[:, :1, 0] - 1)
    bars = drawn(bars_prob=1.0, bars_max=0.2).bars.double()
    amounts = [
        moves(rotation_degrees=45.0)[:, 1, 0],
        moves(scale=[0.8, 1.3])[:, 0, 0],
        moves(stretch=[0.5, 1.5])[:, 0, 0],
        shifts[:, 0, 2],
        shifts[:, 1, 2],
        1 / crops[:, 0, 0],
        places[:, 0],
        places[:, 1],
        bars[:, 0] + bars[:, 1],
        bars[:, 2] + bars[:, 3],
        drawn(colour_prob=1.0, brightness=0.3).colours[:, 0, 3],
        drawn(colour_prob=1.0, contrast=0.4).colours[:, 0, 0],
        drawn(blur_prob=1.0, blur_px=[1, 3, 5]).blur_px.double(),
        moved(drawn(affine_prob=0.5, rotation_degrees=9.0)).double(),
        drawn(bars_prob=0.5, bars_max=0.2).bars.any(dim=1).double(),
    ]
    found = torch.corrcoef(torch.stack(amounts)) - torch.eye(len(amounts))
    assert found.abs().max() < 0.04


@pytest.mark.parametrize("total", [1.0, 0.5])
def test_at_most_one_change_is_chosen(total: float) -> None:
    share = total / len(PROBS)
    settings = RANGES | dict.fromkeys(PROBS, share) | {"choose": "one"}
    found = changed(keys=MANY, **settings)
    is_grey = found.colours[:, 0, 0] == found.colours[:, 1, 0]
    is_mirrored = torch.linalg.det(found.matrices) < 0
    is_cropped = moved(found) & (found.matrices[:, 0, 1] == 0) & ~is_mirrored
    made = [
        moved(found) & ~is_mirrored & ~is_cropped,
        is_cropped,
        is_mirrored,
        found.bars.any(dim=1),
        recoloured(found) & ~is_grey,
        is_grey,
        found.blur_px > 1,
    ]
    counts = torch.stack(made).sum(dim=0)
    assert counts.max() == 1
    assert counts.min() == (1 if total == 1.0 else 0)
    for which in made:
        assert is_share(which, share)


def test_rotation() -> None:
    found = changed(keys=MANY, affine_prob=1.0, rotation_degrees=45.0).matrices
    assert is_uniform(torch.atan2(found[:, 1, 0], found[:, 0, 0]).rad2deg(), -45.0, 45.0)
    middle = torch.full((len(MANY), 1, 2), SIDE / 2).double()
    torch.testing.assert_close(geometry.transform_points(middle, found), middle)
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(len(MANY)).double())


def test_scale() -> None:
    found = changed(keys=MANY, affine_prob=1.0, scale=[0.9, 1.1]).matrices
    assert torch.equal(found[:, 0, 0], found[:, 1, 1])
    assert is_uniform(found[:, 0, 0], 0.9, 1.1)
    middle = torch.full((len(MANY), 1, 2), SIDE / 2).double()
    torch.testing.assert_close(geometry.transform_points(middle, found), middle)


def test_stretch() -> None:
    found = changed(keys=MANY, affine_prob=1.0, stretch=[0.5, 1.5]).matrices
    ratios = found[:, 0, 0] / found[:, 1, 1]
    assert is_uniform(ratios.log(), math.log(0.5), math.log(1.5))
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(len(MANY)).double())
    middle = torch.full((len(MANY), 1, 2), SIDE / 2).double()
    torch.testing.assert_close(geometry.transform_points(middle, found), middle)


def test_shift() -> None:
    found = changed(keys=MANY, affine_prob=1.0, shift=0.1).matrices
    assert torch.equal(found[:, :2, :2], torch.eye(2).double().expand(len(MANY), 2, 2))
    for axis in range(2):
        assert is_uniform(found[:, axis, 2], -0.1 * SIDE, 0.1 * SIDE)
    assert abs(torch.corrcoef(found[:, :2, 2].T)[0, 1]) < 0.03


def test_crop_enlarges_a_square_window_of_the_picture_to_all_of_it() -> None:
    found = changed(keys=MANY, crop_prob=1.0, crop_min_scale=0.6).matrices
    assert torch.equal(found[:, 0, 0], found[:, 1, 1])
    corners = torch.tensor([[0.0, 0.0], [SIDE, SIDE]]).double().expand(len(MANY), 2, 2)
    window = geometry.transform_points(corners, torch.linalg.inv(found))
    assert window.min() >= -1e-9
    assert window.max() <= SIDE + 1e-9
    shares = (window[:, 1] - window[:, 0]) / SIDE
    assert is_uniform(shares[:, 0], 0.6, 1.0)
    for axis in range(2):
        assert is_uniform(window[:, 0, axis] / (SIDE * (1 - shares[:, axis])), 0.0, 1.0)


def test_mirror() -> None:
    found = changed(mirror_prob=1.0).matrices
    points = torch.tensor([[0.0, 0.0], [SIDE, 5.0], [3.0, 7.0]]).double().expand(400, 3, 2)
    there = geometry.transform_points(points, found)
    expected = torch.tensor([[SIDE, 0.0], [0.0, 5.0], [SIDE - 3.0, 7.0]]).double()
    assert torch.equal(there, expected.expand(400, 3, 2))
    assert torch.equal(found @ found, changed().matrices)


def test_bars_lie_left_and_right_or_above_and_below() -> None:
    bars = changed(keys=MANY, bars_prob=1.0, bars_max=0.2).bars
    is_across = bars[:, [0, 2]].any(dim=1)
    assert not (is_across & bars[:, [1, 3]].any(dim=1)).any()
    assert is_share(is_across, 0.5)
    for side, rows in ((0, is_across), (1, ~is_across), (2, is_across), (3, ~is_across)):
        assert is_uniform(bars[rows, side], 0.0, 0.2)
    assert abs(torch.corrcoef(bars[is_across][:, [0, 2]].T)[0, 1]) < 0.04


def test_brightness_and_contrast() -> None:
    found = changed(keys=MANY, colour_prob=1.0, brightness=0.3, contrast=0.4).colours
    factors = found[:, 0, 0]
    assert is_uniform(factors, 0.6, 1.4)
    # pixel -> (pixel + shift - 0.5) * factor + 0.5
    shifts = (found[:, 0, 3] - 0.5) / factors + 0.5
    assert is_uniform(shifts, -0.3, 0.3)
    expected = photometric.contrast(factors) @ photometric.brightness(shifts)
    torch.testing.assert_close(found, expected)
    assert abs(torch.corrcoef(torch.stack([factors, shifts]))[0, 1]) < 0.03


def test_grey() -> None:
    found = changed(grey_prob=1.0).colours
    torch.testing.assert_close(found, photometric.grey(torch.ones(400, dtype=torch.bool)))


def test_widths_of_blur_are_as_probable_as_each_other() -> None:
    found = changed(keys=MANY, blur_prob=1.0, blur_px=[1, 3, 7]).blur_px
    for width in (1, 3, 7):
        assert is_share(found == width, 1 / 3)
    assert set(found.tolist()) == {1, 3, 7}


def check_affine(matrices: Tensor, *, shift: float) -> None:
    """Check scale, angle and shift of the source's affine augmenter."""
    parts = matrices[:, :2, :2]
    scales = torch.linalg.det(parts).sqrt()
    middle = torch.full((len(parts), 1, 2), SIDE / 2).double()
    places = geometry.transform_points(middle, matrices)[:, 0] - SIDE / 2
    assert is_uniform(scales, 0.9, 1.1)
    assert is_uniform(torch.atan2(parts[:, 1, 0], parts[:, 0, 0]).rad2deg(), -45.0, 45.0)
    for axis in range(2):
        assert is_uniform(places[:, axis], -shift * SIDE, shift * SIDE)
    turned = parts / scales[:, None, None]
    torch.testing.assert_close(turned @ turned.mT, torch.eye(2).double().expand_as(parts))


def check_crop(matrices: Tensor) -> None:
    scales = matrices[:, 0, 0]
    assert is_uniform(1 / scales, 0.8, 1.0)
    assert torch.equal(matrices[:, 1, 1], scales)
    assert not matrices[:, [0, 1], [1, 0]].any()
    assert is_uniform(-matrices[:, 0, 2] / (SIDE * (scales - 1)), 0.0, 1.0)


def check_colours(colours: Tensor, *, most: float) -> None:
    factors = colours[:, 0, 0]
    assert is_uniform(factors, 1 - most, 1 + most)
    assert is_uniform((colours[:, 0, 3] - 0.5) / factors + 0.5, -most, most)


def test_the_five_augmenters_of_the_source() -> None:
    """Their class defaults: specs/ema-and-keypoints.md, B1.3."""
    names = ["none", "brightness_contrast", "blur", "crop", "affine"]
    none, colour, blur, crop, affine = (
        preset(f"points_{name}")(MANY, size_px=SIDE, seed=3, epoch=0) for name in names
    )
    check_colours(colour.colours, most=0.3)
    check_crop(crop.matrices)
    check_affine(affine.matrices, shift=0.1)
    for width in (1, 3, 5):
        assert is_share(blur.blur_px == width, 1 / 3)
    for change in (none, colour, blur):
        assert not moved(change).any()
    for change in (none, crop, affine, blur):
        assert not recoloured(change).any()
    for change in (none, crop, affine, colour):
        assert (change.blur_px == 1).all()
    assert not any(change.bars.any() for change in (none, colour, blur, crop, affine))


def test_the_random_chooser_of_the_source() -> None:
    """Its frequencies and what it trained with: specs/ema-and-keypoints.md, B1.3."""
    found = preset("points_one_of_five")(MANY, size_px=SIDE, seed=3, epoch=0)
    is_affine = found.matrices[:, 0, 1] != 0
    is_crop = moved(found) & ~is_affine
    is_colour, is_blur = recoloured(found), found.blur_px > 1
    assert is_share(is_affine, 0.15)
    assert is_share(is_crop, 0.15)
    assert is_share(is_colour, 0.2)
    assert is_share(found.blur_px == 3, 0.2 / 3)
    assert is_share(found.blur_px == 5, 0.2 / 3)
    together = is_affine.int() + is_crop.int() + is_colour.int() + is_blur.int()
    assert together.max() == 1
    assert is_share(together == 0, 0.3 + 0.2 / 3)  # of the blurs a third has width 1
    assert not found.bars.any()
    check_affine(found.matrices[is_affine], shift=0.01)
    check_crop(found.matrices[is_crop])
    check_colours(found.colours[is_colour], most=0.2)


def test_data_without_a_mirror_is_never_mirrored_unless_told() -> None:
    for name in ("points_csv", "landmarks_csv"):
        text = (Path(command_line.CONF) / "dataset" / f"{name}.yaml").read_text()
        assert "override /augment@_global_.augment: points_one_of_five" in text
    assert preset("points_one_of_five").mirror_prob == 0.0
    assert preset("points_all").mirror_prob == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choose": "all"}, "choose must be one of each, one, got 'all'"),
        ({"affine_prob": 1.5}, r"affine_prob must be in \[0, 1\], got 1.5"),
        ({"mirror_prob": -0.1}, r"mirror_prob must be in \[0, 1\], got -0.1"),
        ({"blur_prob": math.nan}, r"blur_prob must be in \[0, 1\], got nan"),
        (
            {"choose": "one", "crop_prob": 0.7, "grey_prob": 0.4},
            "the probabilities must add up to at most 1 with choose=one, got 1.1",
        ),
        ({"scale": [0.0, 1.0]}, r"scale must be the least .* above 0, got \[0.0, 1.0\]"),
        ({"scale": [1.1, 0.9]}, r"scale must be the least .* above 0, got \[1.1, 0.9\]"),
        ({"stretch": [1.0]}, r"stretch must be the least .* above 0, got \[1.0\]"),
        ({"stretch": [0.5, math.inf]}, r"stretch must be the least .* got \[0.5, inf\]"),
        ({"rotation_degrees": 181.0}, r"rotation_degrees must be in \[0, 180\], got 181.0"),
        ({"shift": 1.1}, r"shift must be in \[0, 1\], got 1.1"),
        ({"bars_max": 0.6}, r"bars_max must be in \[0, 0.5\], got 0.6"),
        ({"brightness": -0.1}, r"brightness must be in \[0, 1\], got -0.1"),
        ({"contrast": math.nan}, r"contrast must be in \[0, 1\], got nan"),
        ({"crop_min_scale": 0.0}, r"crop_min_scale must be in \(0, 1\], got 0.0"),
        ({"blur_px": []}, r"blur_px must be odd numbers >= 1, got \[\]"),
        ({"blur_px": [3, 4]}, r"blur_px must be odd numbers >= 1, got \[3, 4\]"),
        ({"blur_px": [-1]}, r"blur_px must be odd numbers >= 1, got \[-1\]"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PointAugment(**OFF), **changes)
