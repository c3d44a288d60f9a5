import math
from typing import Any

import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from visionlab.core import geometry
from visionlab.images import photometric
from visionlab.images.normalise import normalise
from visionlab.images.rendering import Change, render, unchanged
from visionlab.tasks.keypoints.augment import PointAugment

RAW = torch.tensor([[0.0] * 3, [1.0] * 3])  # inputs are then pixels in [0, 1]
NORMALISATION = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.3, 0.4]])
CPU = torch.device("cpu")
SIDE = 64
ANY = PointAugment(
    choose="each",
    affine_prob=0.7,
    rotation_degrees=60.0,
    scale=[0.7, 1.4],
    stretch=[0.7, 1.4],
    shift=0.15,
    crop_prob=0.5,
    crop_min_scale=0.7,
    mirror_prob=0.5,
    bars_prob=0.5,
    bars_max=0.3,
    colour_prob=0.5,
    brightness=0.2,
    contrast=0.3,
    grey_prob=0.3,
    blur_prob=0.5,
    blur_px=[3, 5],
)


def noise(*sizes: tuple[int, int]) -> list[Tensor]:
    """Return images of widths and heights."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
        for width, height in sizes
    ]


def rendered(images: list[Tensor], change: Change, **settings: Any) -> Tensor:
    defaults: dict[str, Any] = {
        "matrices": geometry.identities(len(images), device=CPU),
        "size": (images[0].shape[1], images[0].shape[2]),
        "normalisation": RAW,
    }
    return render(images, change=change, **defaults | settings)


def test_nothing_changed_is_the_normalised_image() -> None:
    images = noise((30, 20), (30, 20))
    found = rendered(images, unchanged(2), normalisation=NORMALISATION)
    assert found.dtype == torch.float32
    expected = normalise(torch.stack(images), NORMALISATION)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)


def test_outside_the_image_is_the_mean_colour_whatever_the_change() -> None:
    change = unchanged(1)._replace(
        bars=torch.tensor([[0.4, 0.0, 0.0, 0.0]]), colours=photometric.brightness(torch.ones(1))
    )
    matrices = geometry.translations(torch.tensor([[3.0, 2.0]]))
    (found,) = rendered(
        noise((4, 4)), change, matrices=matrices, size=(8, 10), normalisation=NORMALISATION
    )
    assert (found[:, :2] == 0).all()
    assert (found[:, 6:] == 0).all()
    assert (found[:, :, :3] == 0).all()
    assert (found[:, :, 7:] == 0).all()
    white = (1 - NORMALISATION[0]) / NORMALISATION[1]
    torch.testing.assert_close(found[:, 2:6, 3:7], white[:, None, None].expand(3, 4, 4))


def test_bars_are_black_shares_of_each_side() -> None:
    white = [torch.full((3, 10, 8), 255, dtype=torch.uint8)] * 2
    bars = torch.tensor([[0.25, 0.1, 0.125, 0.3], [0.0, 0.0, 0.5, 0.0]])
    found = rendered(white, unchanged(2)._replace(bars=bars))
    expected = torch.zeros(2, 3, 10, 8)
    expected[0, :, 1:7, 2:7] = 1.0
    expected[1, :, :, :4] = 1.0
    torch.testing.assert_close(found, expected)


def test_bars_change_colour_as_the_picture_does() -> None:
    change = unchanged(1)._replace(
        bars=torch.tensor([[0.5, 0.0, 0.0, 0.0]]),
        colours=photometric.brightness(torch.tensor([0.2])),
    )
    (found,) = rendered([torch.full((3, 4, 4), 102, dtype=torch.uint8)], change)
    torch.testing.assert_close(found[:, :, :2], torch.full((3, 4, 2), 0.2))
    torch.testing.assert_close(found[:, :, 2:], torch.full((3, 4, 2), 0.6))


def test_blur_comes_last() -> None:
    images = noise((12, 12), (12, 12))
    change = unchanged(2)._replace(
        bars=torch.tensor([[0.3, 0.0, 0.2, 0.0]] * 2),
        colours=photometric.contrast(torch.tensor([3.0, 2.0])),
    )
    matrices = geometry.rotations(torch.tensor([20.0, -10.0]))
    widths = torch.tensor([5, 3])
    sharp = rendered(images, change, matrices=matrices)
    found = rendered(images, change._replace(blur_px=widths), matrices=matrices)
    assert torch.equal(found, photometric.blur(sharp, widths))
    assert not torch.equal(found, sharp)


def test_the_change_moves_what_the_matrix_has_placed() -> None:
    (image,) = noise((9, 6))
    fit = geometry.translations(torch.tensor([[1.0, 3.0]]))
    flip = geometry.flips(torch.tensor([True]), torch.tensor([12.0]), axis=0)
    found = rendered([image], unchanged(1)._replace(matrices=flip), matrices=fit, size=(12, 12))
    expected = torch.zeros(3, 12, 12)
    expected[:, 3:9, 1:10] = image / 255
    torch.testing.assert_close(found[0], expected.flip(2), atol=1e-4, rtol=0)


def test_images_of_several_sizes_are_rendered_as_alone() -> None:
    images = noise((40, 30), (7, 90), (64, 64), (3, 3))
    change = ANY(torch.arange(4), size_px=20, seed=1, epoch=0)
    matrices = geometry.scalings(torch.tensor([[0.5, 0.7], [3.0, 0.2], [0.3, 0.3], [8.0, 6.0]]))
    together = rendered(images, change, matrices=matrices, size=(20, 20))
    for number, image in enumerate(images):
        one = slice(number, number + 1)
        alone = rendered(
            [image],
            Change(*(part[one] for part in change)),
            matrices=matrices[one],
            size=(20, 20),
        )
        assert torch.equal(alone, together[one])


def test_autocast_changes_nothing() -> None:
    images, keys = noise((40, 30), (70, 90)), torch.arange(2)

    def seen() -> Tensor:
        change = ANY(keys, size_px=32, seed=5, epoch=0)
        return rendered(images, change, size=(32, 32), normalisation=NORMALISATION)

    plain = seen()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(seen(), plain)


def spot(x: float, y: float) -> Tensor:
    """Return a bright spot on dark ground, around a point."""
    across = torch.arange(SIDE) + 0.5
    squares = (across - x) ** 2 + (across[:, None] - y) ** 2
    return (40 + 170 * torch.exp(-squares / 18)).round().byte().expand(3, -1, -1)


def centre_of_spot(image: Tensor) -> list[float]:
    """Return the centre of what is brighter than halfway between the ground and the spot."""
    grey = image.mean(dim=0)
    ground = float(grey[grey > 0].median())
    weights = (grey - (ground + float(grey.max())) / 2).clamp(min=0)
    across = torch.arange(SIDE) + 0.5
    return [float((weights * place).sum() / weights.sum()) for place in (across, across[:, None])]


@given(x=st.floats(12, 52), y=st.floats(12, 52), key=st.integers(0, 10**9))
def test_a_spot_lies_where_its_point_goes(x: float, y: float, key: int) -> None:
    change = ANY(torch.tensor([key]), size_px=SIDE, seed=3, epoch=0)
    point = torch.tensor([[[x, y]]], dtype=torch.float64)
    target = geometry.transform_points(point, change.matrices)[0, 0]
    left, top, right, bottom = (change.bars[0] * SIDE).tolist()
    margin = 9
    assume(left + margin < target[0] < SIDE - right - margin)
    assume(top + margin < target[1] < SIDE - bottom - margin)
    (found,) = rendered([spot(x, y)], change)
    assert math.dist(centre_of_spot(found), target.tolist()) < 0.4
    assert found[:, int(target[1]), int(target[0])].min() > 0.35


def test_mirrored_twice_is_the_picture_itself() -> None:
    (image,) = noise((SIDE, SIDE))
    flip = geometry.flips(torch.tensor([True]), torch.tensor([float(SIDE)]), axis=0)
    mirrored = unchanged(1)._replace(matrices=flip)
    once = rendered([image], mirrored)
    twice = rendered([once[0] * 255], mirrored)
    torch.testing.assert_close(once[0], (image / 255).flip(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(twice[0], image / 255, atol=1e-4, rtol=0)
