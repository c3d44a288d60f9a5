import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur, pil_to_tensor

from visionlab.images import photometric

RAW = torch.tensor([[0.0] * 3, [1.0] * 3])  # results are then pixels in [0, 1]
NORMALISATION = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.3, 0.4]])


def noise(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Return pixels in [0, 255], with a fraction."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, height, width, generator=generator) * 255


def brighter(value: float) -> Tensor:
    return photometric.brightness(torch.tensor([value]))


def contrasted(value: float) -> Tensor:
    return photometric.contrast(torch.tensor([value]))


def greyed(value: bool) -> Tensor:
    return photometric.grey(torch.tensor([value]))


def seen(pixel: float | list[float], *matrices: Tensor) -> Any:
    """Return what becomes of a grey pixel in [0, 1], or of a colour; the first matrix acts last."""
    colour = [pixel] * 3 if isinstance(pixel, float) else pixel
    matrix = torch.eye(4, dtype=torch.float64)[None]
    for each in reversed(matrices):
        matrix = each @ matrix
    image = torch.tensor(colour).view(1, 3, 1, 1) * 255
    found = photometric.recolour(image, matrix, normalisation=RAW)[0, :, 0, 0].tolist()
    return pytest.approx(found[0] if isinstance(pixel, float) else found, abs=1e-6)


def test_single_pixels_by_hand() -> None:
    assert seen(0.5, brighter(0.1)) == 0.6
    assert seen(0.5, brighter(-0.1)) == 0.4
    assert seen(0.5, contrasted(1.7)) == 0.5
    assert seen(0.6, contrasted(2.0)) == 0.7
    assert seen(0.2, contrasted(0.5)) == 0.35
    assert seen([1.0, 0.0, 0.0], greyed(True)) == [0.299] * 3
    assert seen([0.0, 1.0, 0.0], greyed(True)) == [0.587] * 3
    assert seen([0.0, 0.0, 1.0], greyed(True)) == [0.114] * 3
    assert seen([0.1, 0.2, 0.7], greyed(False)) == [0.1, 0.2, 0.7]
    # the first operation stands rightmost
    assert seen(0.5, contrasted(2.0), brighter(0.1)) == 0.7
    assert seen(0.5, brighter(0.1), contrasted(2.0)) == 0.6


def test_colours_are_cut_off_at_black_and_white_once_at_the_end() -> None:
    assert seen(0.7, brighter(0.5)) == 1.0
    assert seen(0.3, brighter(-0.5)) == 0.0
    assert seen([0.9, 0.5, 0.2], contrasted(3.0)) == [1.0, 0.5, 0.0]
    assert seen(0.9, contrasted(0.1), brighter(0.8)) == 0.62
    image = torch.tensor([0.0, 255.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    found = photometric.recolour(image, contrasted(9.0), normalisation=NORMALISATION)
    mean, std = NORMALISATION
    torch.testing.assert_close(found[0, :, 0], torch.stack([-mean / std, (1 - mean) / std], dim=1))


def test_grey_is_the_luma_of_pil() -> None:
    image = noise(1, 20, 30).byte()
    expected = Image.fromarray(image[0].permute(1, 2, 0).numpy()).convert("L")
    found = photometric.recolour(image.float(), greyed(True), normalisation=RAW)[0] * 255
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    torch.testing.assert_close(found[0], pil_to_tensor(expected)[0].float(), atol=0.51, rtol=0)


@given(
    shifts=st.lists(st.floats(-1.0, 1.0, width=32), min_size=2, max_size=2),
    factors=st.lists(st.floats(0.0, 3.0, width=32), min_size=2, max_size=2),
    greys=st.lists(st.booleans(), min_size=2, max_size=2),
    seed=st.integers(0, 999),
)
def test_recolouring_equals_a_loop_over_pixels(
    shifts: list[float], factors: list[float], greys: list[bool], seed: int
) -> None:
    images = noise(2, 2, 3, seed)
    before = images.clone()
    matrices = photometric.contrast(torch.tensor(factors)) @ photometric.brightness(
        torch.tensor(shifts)
    )
    matrices = photometric.grey(torch.tensor(greys)) @ matrices
    found = photometric.recolour(images, matrices, normalisation=NORMALISATION)
    assert torch.equal(images, before)
    assert found.dtype == torch.float32
    mean, std = NORMALISATION.tolist()
    for number, image in enumerate(images):
        for row in range(2):
            for column in range(3):
                colour = (image[:, row, column] / 255).tolist()
                colour = [(each + shifts[number] - 0.5) * factors[number] + 0.5 for each in colour]
                if greys[number]:
                    red, green, blue = colour
                    colour = [0.299 * red + 0.587 * green + 0.114 * blue] * 3
                expected = [
                    (min(max(each, 0.0), 1.0) - mean[channel]) / std[channel]
                    for channel, each in enumerate(colour)
                ]
                assert found[number, :, row, column].tolist() == pytest.approx(expected, abs=2e-5)


def test_autocast_does_not_make_colours_coarse() -> None:
    images = noise(2, 9, 8)

    def recoloured() -> Tensor:
        shifts, factors = torch.tensor([0.03, -0.2]), torch.tensor([1.1, 0.9])
        matrices = photometric.contrast(factors) @ photometric.brightness(shifts)
        return photometric.recolour(images, matrices, normalisation=NORMALISATION)

    plain = recoloured()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(recoloured(), plain)


def test_the_kernels_by_eye() -> None:
    dot = torch.zeros(3, 3, 9, 9)
    dot[:, :, 4, 4] = 1.0
    found = photometric.blur(dot, torch.tensor([1, 3, 5]))
    near, far = math.exp(-0.5), math.exp(-0.125)
    three = torch.tensor([near, 1.0, near]) / (1 + 2 * near)  # standard deviation 1
    five = torch.tensor([near, far, 1.0, far, near]) / (1 + 2 * far + 2 * near)  # and 2
    expected = torch.zeros(3, 9, 9)
    expected[0, 4, 4] = 1.0
    expected[1, 3:6, 3:6] = three[:, None] * three
    expected[2, 2:7, 2:7] = five[:, None] * five
    for channel in range(3):
        torch.testing.assert_close(found[:, channel], expected)


@pytest.mark.parametrize("width", [3, 5, 7])
def test_blur_equals_that_of_torchvision(width: int) -> None:
    images = noise(2, 8, 13)
    expected = gaussian_blur(images, [width, width], [width // 2, width // 2])
    found = photometric.blur(images, torch.tensor([width, width]))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


@given(widths=st.lists(st.sampled_from([1, 3, 5, 9]), min_size=1, max_size=5))
def test_images_of_a_batch_are_blurred_as_alone(widths: list[int]) -> None:
    images = noise(len(widths), 10, 12)
    before = images.clone()
    found = photometric.blur(images, torch.tensor(widths))
    assert torch.equal(images, before)
    for number, width in enumerate(widths):
        one = slice(number, number + 1)
        assert torch.equal(found[one], photometric.blur(images[one], torch.tensor([width])))
        assert torch.equal(found[one], images[one]) == (width == 1)


@pytest.mark.parametrize("width", [1, 3, 5, 9])
def test_blur_keeps_plain_images_and_the_sum_of_what_is_inside(width: int) -> None:
    plain = torch.full((1, 3, 10, 12), 0.7)
    torch.testing.assert_close(photometric.blur(plain, torch.tensor([width])), plain)
    framed = torch.nn.functional.pad(noise(1, 4, 5), (10, 10, 10, 10))
    total = photometric.blur(framed, torch.tensor([width])).sum(dim=(2, 3))
    torch.testing.assert_close(total, framed.sum(dim=(2, 3)))
