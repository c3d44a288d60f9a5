from typing import Any

import pytest
import torch
from torch import Tensor

from visionlab.images.colours import Colours, Drawn, blur, recolour
from visionlab.images.normalise import normalise

NORMALISATION = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.3, 0.4]])
KEYS = torch.arange(200) * 7
OFF: dict[str, Any] = {
    "jitter_prob": 0.0,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.1,
    "grey_prob": 0.0,
    "blur_prob": 0.0,
    "blur_sigma_px": [0.5, 2.0],
}


def drawn(*, keys: Tensor = KEYS, epoch: int = 0, **changes: Any) -> Drawn:
    return Colours(**OFF | changes).draw(keys, seed=1, epoch=epoch)


def image() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, 3, 20, 30), generator=generator, dtype=torch.uint8)


def test_all_off_only_normalises() -> None:
    one = drawn().of(0)
    pixels = recolour(image(), one, normalisation=NORMALISATION)
    torch.testing.assert_close(pixels, normalise(image(), NORMALISATION), rtol=1e-5, atol=1e-5)
    assert torch.equal(blur(pixels, one), pixels)


def test_changes_depend_on_key_and_epoch_alone() -> None:
    on = {"jitter_prob": 0.5, "grey_prob": 0.5, "blur_prob": 0.5}
    together, apart = drawn(**on), drawn(keys=KEYS[[5]], **on)
    for ours, theirs in zip(together.of(5).jitter, apart.jitter, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(together.of(5).sigmas_px, apart.sigmas_px)
    assert not torch.equal(together.sigmas_px, drawn(epoch=1, **on).sigmas_px)


def test_shares_and_ranges_are_as_set() -> None:
    found = drawn(jitter_prob=0.8, grey_prob=0.2, blur_prob=0.5)
    assert (found.jitter.hue != 0).float().mean().item() == pytest.approx(0.8, abs=0.1)
    assert found.is_grey.float().mean().item() == pytest.approx(0.2, abs=0.1)
    sigmas = found.sigmas_px[found.sigmas_px > 0]
    assert len(sigmas) / len(KEYS) == pytest.approx(0.5, abs=0.1)
    assert 0.5 <= sigmas.min() < 0.6
    assert 1.9 < sigmas.max() <= 2.0
    for factors in found.jitter[:3]:
        assert 0.6 <= factors.min() < 0.65
        assert 1.35 < factors.max() <= 1.4
    assert found.jitter.hue.abs().max() <= 0.1


def test_one_change_more_does_not_shift_the_others() -> None:
    alone, beside = drawn(blur_prob=0.5), drawn(blur_prob=0.5, jitter_prob=1.0, grey_prob=0.5)
    assert torch.equal(alone.sigmas_px, beside.sigmas_px)


def test_grey_has_equal_channels_and_jitter_has_not() -> None:
    raw = torch.tensor([[0.0] * 3, [1.0] * 3])
    grey = recolour(image(), drawn(grey_prob=1.0).of(0), normalisation=raw)
    torch.testing.assert_close(grey[:, 0], grey[:, 1])
    torch.testing.assert_close(grey[:, 0], grey[:, 2])
    jittered = recolour(image(), drawn(jitter_prob=1.0).of(0), normalisation=raw)
    assert (jittered - image() / 255.0).abs().max() > 0.1
    assert 0.0 <= jittered.min() < jittered.max() <= 1.0


def test_a_wider_blur_leaves_less_contrast() -> None:
    pixels = normalise(image(), NORMALISATION)
    spreads = [
        blur(pixels, drawn(blur_prob=1.0, blur_sigma_px=[sigma, sigma]).of(0)).std()
        for sigma in (0.3, 1.0, 3.0)
    ]
    assert pixels.std() >= spreads[0] > spreads[1] > spreads[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jitter_prob": 1.5}, r"^jitter_prob must be in \[0, 1\], got 1\.5"),
        ({"hue": 0.6}, r"^hue must be in \[0, 0\.5\], got 0\.6"),
        ({"contrast": -0.1}, r"^contrast must be in \[0, 100\], got -0\.1"),
        ({"blur_sigma_px": [2.0, 1.0]}, r"^blur_sigma_px must be .*, got \[2\.0, 1\.0\]"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drawn(**changes)
