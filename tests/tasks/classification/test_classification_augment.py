import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as transforms

from visionlab.images.normalise import normalise, to_pixels
from visionlab.tasks.classification.augment import NUM_DRAWS, Augment, centre, draw, pad

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
NORMALISATION = torch.tensor([MEAN, STD])
RAW = torch.tensor([[0.0], [1 / 255]])  # normalised pixels are then the raw values


def settings_of(pad_px: int = 0, flip_prob: float = 0.0, cutout_px: int = 0) -> Augment:
    return Augment(pad_px=pad_px, flip_prob=flip_prob, cutout_px=cutout_px)


def random_images(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = (count, 3, height, width)
    return torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)


def augmented(
    images: Tensor, augmentation: Augment, *, keys: Tensor, seed: int = 1, epoch: int = 0
) -> Tensor:
    return augmentation(
        pad(images, augmentation.pad_px),
        torch.arange(len(images)),
        draws=draw(keys, seed=seed, epoch=epoch),
        normalisation=NORMALISATION,
    )


def naive_augment(image: Tensor, augmentation: Augment, draws: list[float]) -> np.ndarray:
    """Return one image (3, H, W) cropped, flipped, normalised and holed, pixel by pixel."""
    _, height, width = image.shape
    border, side = augmentation.pad_px, augmentation.cutout_px
    padded = np.pad(image.numpy(), ((0, 0), (border, border), (border, border)))
    top, left = (int(number * (2 * border + 1)) for number in draws[:2])
    cropped = padded[:, top : top + height, left : left + width].astype(np.float64)
    if draws[2] < augmentation.flip_prob:
        cropped = cropped[:, :, ::-1]
    result = (cropped / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    first_row, first_column = (
        int(draws[3] * height) - side // 2,
        int(draws[4] * width) - side // 2,
    )
    for row in range(first_row, first_row + side):
        for column in range(first_column, first_column + side):
            if 0 <= row < height and 0 <= column < width:
                result[:, row, column] = 0.0
    return result


@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)),
    pad_px=st.integers(0, 4),
    flip_prob=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    cutout_px=st.integers(0, 12),
    keys=st.integers(0, 2**62),
    epoch=st.integers(0, 300),
)
def test_augment_equals_a_loop_over_images(
    size: tuple[int, int, int],
    pad_px: int,
    flip_prob: float,
    cutout_px: int,
    keys: int,
    epoch: int,
) -> None:
    images, augmentation = random_images(*size), settings_of(pad_px, flip_prob, cutout_px)
    ids = torch.arange(keys, keys + size[0])
    result = augmented(images, augmentation, keys=ids, epoch=epoch)
    draws = draw(ids, seed=1, epoch=epoch).tolist()
    for ours, image, numbers in zip(result.numpy(), images, draws, strict=True):
        np.testing.assert_allclose(ours, naive_augment(image, augmentation, numbers), atol=2e-6)


def test_every_crop_position_is_equally_frequent() -> None:
    padded = torch.arange(9 * 9, dtype=torch.uint8).reshape(1, 1, 9, 9)  # its values are positions
    images = settings_of(pad_px=4)(
        padded,
        torch.zeros(16_200, dtype=torch.int64),
        draws=draw(torch.arange(16_200), seed=2, epoch=0),
        normalisation=RAW,
    )
    assert images.shape == (16_200, 1, 1, 1)
    counts = images.flatten().round().long().bincount(minlength=81)
    assert len(counts) == 81
    chi_squared = ((counts - 200.0) ** 2 / 200.0).sum()
    assert chi_squared < 124.8  # the 99.9 % point of 80 degrees of freedom


@pytest.mark.parametrize(("flip_prob", "share"), [(0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (1.0, 1.0)])
def test_flips_are_as_frequent_as_asked(flip_prob: float, share: float) -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).expand(10_000, 3, 1, 2)
    result = augmented(images, settings_of(flip_prob=flip_prob), keys=torch.arange(10_000))
    flipped = result[:, 0, 0, 0] > result[:, 0, 0, 1]
    assert flipped.float().mean() == pytest.approx(share, abs=0.02 if 0 < flip_prob < 1 else 0)


@pytest.mark.parametrize(
    ("cutout_px", "centre_yx", "hole"),
    [
        (2, (0.0, 0.0), ["#.....", "......", "......", "......"]),
        (2, (0.5, 0.5), ["......", "..##..", "..##..", "......"]),
        (3, (0.99, 0.99), ["......", "......", "....##", "....##"]),
        (3, (0.0, 0.5), ["..###.", "..###.", "......", "......"]),
        (1, (0.3, 0.99), ["......", ".....#", "......", "......"]),
        (99, (0.0, 0.99), ["######", "######", "######", "######"]),
    ],
)
def test_a_hole_is_where_the_draws_say_and_clipped_by_the_border(
    cutout_px: int, centre_yx: tuple[float, float], hole: list[str]
) -> None:
    result = settings_of(cutout_px=cutout_px)(
        torch.full((1, 1, 4, 6), 9, dtype=torch.uint8),
        torch.tensor([0]),
        draws=torch.tensor([[0.0, 0.0, 0.0, *centre_yx]]),
        normalisation=RAW,
    )
    drawn = ["".join(".#"[int(value == 0)] for value in row) for row in result[0, 0]]
    assert drawn == hole


def test_a_hole_has_the_mean_colour_in_every_channel() -> None:
    keys = torch.arange(50)
    result = augmented(random_images(50, 6, 8), settings_of(cutout_px=3), keys=keys)
    colours = result * NORMALISATION[1, :, None, None] + NORMALISATION[0, :, None, None]
    holes = (result == 0).all(dim=1)
    assert set(holes.sum(dim=(1, 2)).tolist()) == {4, 6, 9}
    assert colours.movedim(1, -1)[holes].unique(dim=0).tolist() == [pytest.approx(MEAN)]


@given(flip_prob=st.sampled_from([0.0, 0.5, 1.0]), pad_px=st.integers(0, 3))
def test_cutout_leaves_crop_flip_and_all_else_alone(flip_prob: float, pad_px: int) -> None:
    images, keys = random_images(20, 7, 5), torch.arange(20)
    whole = augmented(images, settings_of(pad_px, flip_prob), keys=keys)
    holed = augmented(images, settings_of(pad_px, flip_prob, cutout_px=3), keys=keys)
    outside = (holed != 0).any(dim=1, keepdim=True)
    assert torch.equal(holed, whole * outside)


@given(chosen=st.lists(st.integers(0, 11), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_a_sample_depends_on_neither_batch_nor_position_nor_other_samples(
    chosen: list[int], seed: int
) -> None:
    images, keys, augmentation = random_images(12, 6, 8), torch.arange(12), settings_of(2, 0.5, 3)
    together = augmented(images, augmentation, keys=keys, seed=seed)
    others = random_images(12, 6, 8, seed=1)
    others[chosen] = images[chosen]
    apart = augmentation(
        pad(others, 2),
        torch.tensor(chosen),
        draws=draw(keys[chosen], seed=seed, epoch=0),
        normalisation=NORMALISATION,
    )
    assert torch.equal(apart, together[chosen])


def test_draws_change_with_epoch_seed_and_sample_and_with_nothing_else() -> None:
    keys = torch.arange(100)
    first = draw(keys, seed=1, epoch=0)
    assert first.shape == (100, NUM_DRAWS)
    assert torch.equal(first, draw(keys, seed=1, epoch=0))
    for other in (draw(keys, seed=1, epoch=1), draw(keys, seed=2, epoch=0)):
        assert (other != first).float().mean() > 0.99
    assert len(first.flatten().unique()) > 490


def test_an_augmented_sample_changes_with_the_epoch() -> None:
    images, augmentation = random_images(64, 8, 8), settings_of(4, 0.5)
    epochs = [augmented(images, augmentation, keys=torch.arange(64), epoch=e) for e in range(3)]
    for left, right in ((0, 1), (1, 2), (0, 2)):
        same = (epochs[left] == epochs[right]).flatten(1).all(dim=1)
        assert same.float().mean() < 0.1


@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 999))
def test_normalise_equals_torchvision(height: int, width: int, seed: int) -> None:
    images = random_images(2, height, width, seed)
    expected = torch.stack(
        [
            transforms.normalize(
                transforms.to_tensor(Image.fromarray(image.permute(1, 2, 0).numpy())), MEAN, STD
            )
            for image in images
        ]
    )
    torch.testing.assert_close(normalise(images, NORMALISATION), expected, atol=1e-6, rtol=0)


def test_pixels_of_normalised_images_are_the_pixels_they_came_from() -> None:
    images = random_images(3, 5, 6)
    pixels = to_pixels(normalise(images, NORMALISATION), normalisation=NORMALISATION)
    torch.testing.assert_close(pixels * 255, images.float(), atol=1e-3, rtol=0)


def test_pixels_beyond_black_and_white_are_black_and_white() -> None:
    far = torch.tensor([-1e3, 1e3]).reshape(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert to_pixels(far, normalisation=NORMALISATION)[0, :, 0].tolist() == [[0.0, 1.0]] * 3


@pytest.mark.parametrize("pad_px", [0, 1, 4])
def test_centre_undoes_the_border(pad_px: int) -> None:
    images, rows = random_images(5, 6, 9), torch.tensor([3, 0, 3])
    plain = centre(pad(images, pad_px), rows, pad_px=pad_px, normalisation=NORMALISATION)
    assert plain.shape == (3, 3, 6, 9)
    assert plain.dtype == torch.float32
    assert torch.equal(plain, normalise(images[rows], NORMALISATION))


def test_a_border_is_black() -> None:
    padded = pad(torch.full((1, 1, 1, 2), 7, dtype=torch.uint8), 1)
    assert padded.tolist() == [[[[0, 0, 0, 0], [0, 7, 7, 0], [0, 0, 0, 0]]]]
    assert padded.dtype == torch.uint8


@pytest.mark.parametrize("augmentation", [settings_of(), settings_of(2, 1.0, 4)])
def test_augmenting_returns_float32_and_leaves_the_images_alone(augmentation: Augment) -> None:
    images = random_images(4, 5, 7)
    padded = pad(images, augmentation.pad_px)
    before = padded.clone()
    result = augmentation(
        padded,
        torch.tensor([2, 2, 0]),
        draws=draw(torch.arange(3), seed=0, epoch=0),
        normalisation=NORMALISATION,
    )
    assert result.shape == (3, 3, 5, 7)
    assert result.dtype == torch.float32
    assert torch.equal(padded, before)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-1, 0.5, 0), "pad_px must be >= 0, got -1"),
        ((4, 1.5, 0), r"flip_prob must be in \[0, 1\], got 1.5"),
        ((4, -0.1, 0), r"flip_prob must be in \[0, 1\], got -0.1"),
        ((4, float("nan"), 0), r"flip_prob must be in \[0, 1\], got nan"),
        ((4, 0.5, -2), "cutout_px must be >= 0, got -2"),
    ],
)
def test_wrong_settings_are_named(values: tuple[int, float, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_of(*values)
