"""Views: the distribution of crops, and colours beside torchvision's."""

from dataclasses import replace

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as V

from visionlab.images.colours import Colours
from visionlab.images.jitter import Jitter, colour_matrices, gaussian_blur, hue
from visionlab.tasks.pretraining.augment import ViewAugment

MOCO_V2 = ViewAugment(
    crop_area=[0.2, 1.0],
    crop_ratio=[0.75, 4 / 3],
    flip_prob=0.5,
    colours=Colours(
        jitter_prob=0.8,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        grey_prob=0.2,
        blur_prob=0.5,
        blur_sigma_px=[0.1, 2.0],
    ),
)
IMAGE = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2


def test_crops_have_the_distribution_of_torchvision() -> None:
    torch.manual_seed(0)
    size = (60, 90)
    canvas = torch.empty(3, *size)
    theirs = torch.tensor(
        [v2.RandomResizedCrop.get_params(canvas, [0.2, 1.0], [0.75, 4 / 3]) for _ in range(4000)]
        if hasattr(v2.RandomResizedCrop, "get_params")
        else [_params(canvas) for _ in range(4000)]
    ).double()  # top, left, height, width
    draws = MOCO_V2.draw(torch.arange(4000), seed=1, epoch=0, view=0)
    corners, sides = MOCO_V2.crops(draws, torch.tensor([[90, 60]]).expand(4000, 2))
    ours = torch.cat([corners.flip(1), sides.flip(1)], dim=1)
    assert (corners >= 0).all()
    assert (corners + sides <= torch.tensor([90, 60])).all()
    torch.testing.assert_close(ours.mean(0), theirs.mean(0), atol=0.8, rtol=0)
    torch.testing.assert_close(ours.std(0), theirs.std(0), atol=0.8, rtol=0)


def _params(canvas: torch.Tensor) -> list[int]:
    transform = v2.RandomResizedCrop(8, scale=(0.2, 1.0), ratio=(0.75, 4 / 3))
    params = transform.make_params([canvas])
    return [params[name] for name in ("top", "left", "height", "width")]


def test_a_ratio_that_never_fits_gives_the_central_crop() -> None:
    wide = replace(MOCO_V2, crop_area=[1.0, 1.0], crop_ratio=[2.0, 2.0])
    draws = wide.draw(torch.arange(3), seed=1, epoch=0, view=0)
    corners, sides = wide.crops(draws, torch.tensor([[40, 40]]).expand(3, 2))
    assert sides.tolist() == [[40.0, 20.0]] * 3
    assert corners.tolist() == [[0.0, 10.0]] * 3


def test_views_depend_on_seed_epoch_view_and_key_alone() -> None:
    keys = torch.tensor([5, 9])
    draws = MOCO_V2.draw(keys, seed=1, epoch=2, view=0)
    other = MOCO_V2.draw(keys.flip(0), seed=1, epoch=2, view=0)
    assert torch.equal(draws.places["left"], other.places["left"].flip(0))
    assert torch.equal(draws.colours.sigmas_px, other.colours.sigmas_px.flip(0))
    for change in ({"seed": 2}, {"epoch": 3}, {"view": 1}):
        settings = {"seed": 1, "epoch": 2, "view": 0, **change}
        changed = MOCO_V2.draw(keys, **settings)
        assert not torch.equal(changed.places["left"], draws.places["left"])
        assert not torch.equal(changed.colours.jitter.order, draws.colours.jitter.order)


@pytest.mark.parametrize(
    ("name", "adjust"),
    [
        ("brightness", V.adjust_brightness),
        ("contrast", V.adjust_contrast),
        ("saturation", V.adjust_saturation),
    ],
)
def test_each_change_of_colour_is_torchvisions(name: str, adjust) -> None:
    one = torch.ones(1)
    plain = Jitter(one, one, one, hue=torch.zeros(1), order=torch.zeros(1))
    jitter = plain._replace(**{name: torch.tensor([1.2])})
    matrix = colour_matrices(jitter, IMAGE.mean(dim=(2, 3)))[0].float()
    ours = torch.einsum("ij,bjhw->bihw", matrix[:3, :3], IMAGE) + matrix[:3, 3, None, None]
    torch.testing.assert_close(ours.clamp(0, 1), adjust(IMAGE, 1.2), atol=1e-4, rtol=0)


@pytest.mark.parametrize("turn", [-0.4, -0.1, 0.1, 0.4])
def test_a_turned_hue_is_nearer_to_hsv_than_none(turn: float) -> None:
    matrix = hue(torch.tensor([turn], dtype=torch.float64))[0, :3, :3].float()
    ours, theirs = torch.einsum("ij,bjhw->bihw", matrix, IMAGE), V.adjust_hue(IMAGE, turn)
    assert (ours - theirs).abs().mean() < 0.75 * (IMAGE - theirs).abs().mean()
    torch.testing.assert_close(ours.mean(dim=1), IMAGE.mean(dim=1))


def test_blur_keeps_level_images_and_averages_others() -> None:
    level = torch.full((2, 3, 9, 7), 0.3)
    torch.testing.assert_close(gaussian_blur(level, torch.tensor([2.0, 0.0])), level)
    blurred = gaussian_blur(IMAGE, torch.tensor([1.0]))
    reference = V.gaussian_blur(IMAGE, [23, 23], [1.0, 1.0])
    inner = (..., slice(6, -6), slice(6, -6))
    torch.testing.assert_close(blurred[inner], reference[inner], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_area": [0.5, 1.5]}, r"crop_area must be .* got \[0.5, 1.5\]"),
        ({"flip_prob": 2.0}, r"flip_prob must be in \[0, 1\], got 2.0"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        replace(MOCO_V2, **change)
