import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from viewing import view

from visionlab.core import geometry
from visionlab.images.normalise import normalise
from visionlab.images.views import View, view_batch
from visionlab.task import Batch

NORMALISATION = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.3, 0.4]])
OTHER: dict[str, Any] = {
    "rotation_degrees": -5.0,
    "scale": 1.1,
    "shift": [0.0, -0.1],
    "mirror": True,
    "brightness": 0.1,
    "contrast": 0.9,
    "grey": True,
    "blur_px": 3,
}
SIZE = (40, 80)  # height and width


def noise(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, *SIZE), generator=generator, dtype=torch.uint8)


def batch_of(images: Tensor, first_key: int = 0) -> Batch:
    keys = torch.arange(len(images)) + first_key
    return Batch(normalise(images, NORMALISATION), keys % 3, keys)


def seen(images: Tensor, *views: View) -> list[Tensor]:
    """Return each view of a batch as pixels in [0, 1]."""
    batch = batch_of(images)
    mean, std = NORMALISATION[:, None, :, None, None]
    return [
        view_batch(batch, each, normalisation=NORMALISATION).inputs * std + mean for each in views
    ]


@pytest.mark.parametrize(
    ("settings", "point", "expected"),
    [
        ({}, (7, 9), (7, 9)),
        ({"rotation_degrees": 90.0}, (40, 10), (50, 20)),  # from above the centre to its right
        ({"rotation_degrees": -90.0}, (40, 10), (30, 20)),
        ({"scale": 2.0}, (20, 10), (0, 0)),
        ({"scale": 0.5}, (0, 0), (20, 10)),
        ({"shift": [0.25, -0.1]}, (7, 9), (27, 5)),
        ({"mirror": True}, (7, 9), (73, 9)),
    ],
)
def test_moves_by_hand(
    settings: dict[str, Any], point: tuple[int, int], expected: tuple[int, int]
) -> None:
    change = view(**settings).change(2, size=SIZE)
    assert (change.matrices.shape, change.matrices.dtype) == ((2, 3, 3), torch.float64)
    points = torch.tensor([[point]] * 2, dtype=torch.float64)
    for found in geometry.transform_points(points, change.matrices)[:, 0].tolist():
        assert found == pytest.approx(expected, abs=1e-9)
    assert not change.bars.any()
    assert (change.colours == torch.eye(4)).all()
    assert change.blur_px.tolist() == [1, 1]


@pytest.mark.parametrize("name", OTHER)
def test_a_view_that_changes_anything_is_not_plain(name: str) -> None:
    assert view().is_plain
    assert view(weight=0.3).is_plain
    assert not view(**{name: OTHER[name]}).is_plain
    (found,) = seen(noise(1), view(**{name: OTHER[name]}))
    assert not torch.allclose(found, noise(1) / 255, atol=1e-2)


def test_images_are_mirrored_and_recoloured_by_hand() -> None:
    images = noise(2)
    pixels = images / 255
    plain, mirrored, brighter, grey = seen(
        images, view(), view(mirror=True), view(brightness=0.1, contrast=1.2), view(grey=True)
    )
    torch.testing.assert_close(plain, pixels)
    torch.testing.assert_close(mirrored, pixels.flip(3), atol=1e-4, rtol=0)
    expected = ((pixels + 0.1 - 0.5) * 1.2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(brighter, expected, atol=1e-4, rtol=0)
    luma = 0.299 * pixels[:, 0] + 0.587 * pixels[:, 1] + 0.114 * pixels[:, 2]
    torch.testing.assert_close(grey, luma[:, None].expand(-1, 3, -1, -1), atol=1e-4, rtol=0)


def test_a_view_keeps_keys_and_targets() -> None:
    batch = batch_of(noise(3))
    assert view_batch(batch, view(), normalisation=NORMALISATION) is batch
    mirrored, larger = (
        view_batch(batch, each, normalisation=NORMALISATION)
        for each in (view(mirror=True), view(scale=1.1))
    )
    for other in (mirrored, larger):
        assert other.keys is batch.keys
        assert other.targets is batch.targets
        assert other.inputs.shape == batch.inputs.shape
    assert not torch.equal(mirrored.inputs, larger.inputs)


def test_outside_a_shrunken_image_is_the_mean_colour() -> None:
    white = torch.full((1, 3, *SIZE), 255, dtype=torch.uint8)
    batch = view_batch(batch_of(white), view(scale=0.5), normalisation=NORMALISATION)
    expected = torch.zeros(1, 3, *SIZE)
    expected[:, :, 10:30, 20:60] = normalise(white, NORMALISATION)[:, :, :20, :40]
    torch.testing.assert_close(batch.inputs, expected)


@given(
    degrees=st.floats(-360, 360),
    scale=st.floats(0.5, 2.0),
    shift=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
    mirror=st.booleans(),
    point=st.tuples(st.floats(0, 80), st.floats(0, 40)),
)
def test_every_view_can_be_undone(
    degrees: float,
    scale: float,
    shift: tuple[float, float],
    mirror: bool,
    point: tuple[float, float],
) -> None:
    change = view(rotation_degrees=degrees, scale=scale, shift=shift, mirror=mirror).change(
        1, size=SIZE
    )
    points = torch.tensor([[point]], dtype=torch.float32)
    matrices = change.matrices.float()  # as in a batch
    there = geometry.transform_points(points, matrices)
    back = geometry.transform_points(there, torch.linalg.inv(matrices.double()))
    torch.testing.assert_close(back, points, atol=1e-3, rtol=0)
    assert (torch.linalg.det(matrices) < 0).item() == mirror


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotation_degrees": 361.0}, r"rotation_degrees must be in \[-360, 360\], got 361.0"),
        ({"rotation_degrees": math.nan}, r"rotation_degrees must be in \[-360, 360\], got nan"),
        ({"scale": 0.0}, "scale must be > 0, got 0.0"),
        ({"scale": math.inf}, r"scale must be <= 1e\+09, got inf"),
        ({"shift": [0.1]}, r"shift must be two shares in \(-1, 1\), got \[0.1\]"),
        ({"shift": [0.0, 1.0]}, r"shift must be two shares in \(-1, 1\), got \[0.0, 1.0\]"),
        ({"brightness": -1.5}, r"brightness must be in \[-1, 1\], got -1.5"),
        ({"contrast": -0.1}, "contrast must be >= 0, got -0.1"),
        ({"blur_px": 4}, "blur_px must be an odd number >= 1, got 4"),
        ({"blur_px": -1}, "blur_px must be an odd number >= 1, got -1"),
        ({"weight": -0.1}, "weight must be >= 0, got -0.1"),
        ({"weight": math.nan}, "weight must be >= 0, got nan"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        view(**changes)
