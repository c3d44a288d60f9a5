import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visionlab.core import geometry

CPU = torch.device("cpu")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.integers(1, 4096), st.integers(0, 1)),
        st.tuples(st.just("rotation"), st.floats(-180.0, 180.0), st.just(0)),
        st.tuples(st.just("scale"), st.floats(0.5, 2.0), st.floats(0.5, 2.0)),
        st.tuples(st.just("shift"), st.floats(-4096.0, 4096.0), st.floats(-4096.0, 4096.0)),
    ),
    max_size=4,
)


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def moved(matrix: Tensor, *points: tuple[float, float]) -> list[list[float]]:
    (found,) = geometry.transform_points(torch.tensor([points], dtype=torch.float64), matrix)
    return [pytest.approx(point, abs=1e-9) for point in found.tolist()]


def flip(length: float, axis: int) -> Tensor:
    return geometry.flips(torch.tensor([True]), numbers(length), axis=axis)


def matrix_of(steps: list[tuple[str, float, float]]) -> Tensor:
    """Return the composition of steps, the first of which acts first."""
    makers: dict[str, Callable[[float, float], Tensor]] = {
        "flip": lambda length, axis: flip(length, int(axis)),
        "rotation": lambda angle, _: geometry.about(
            geometry.rotations(numbers(angle)), numbers(2048.0, 1024.0)[None]
        ),
        "scale": lambda x, y: geometry.scalings(numbers(x, y)[None]),
        "shift": lambda x, y: geometry.translations(numbers(x, y)[None]),
    }
    result = geometry.identities(1, device=CPU)
    for name, first, second in steps:
        result = makers[name](first, second) @ result
    return result


def random_images(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def naive_sample(image: Tensor, matrix: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Look every pixel's centre up in the source, between the four centres around it.

    Beyond the outermost centres the border's colour goes on. Also returns how far inside the image
    each centre lies, in pixels.
    """
    _, height, width = image.shape
    inverse = torch.linalg.inv(matrix)
    result = torch.zeros(len(image), *size, dtype=torch.float64)
    depth = torch.zeros(size, dtype=torch.float64)
    for row in range(size[0]):
        for column in range(size[1]):
            x, y, _ = (inverse @ numbers(column + 0.5, row + 0.5, 1.0)).tolist()
            depth[row, column] = min(x, width - x, y, height - y)
            x, y = min(max(x - 0.5, 0), width - 1), min(max(y - 0.5, 0), height - 1)
            left, top = math.floor(x), math.floor(y)
            for i, part in ((top, 1 - (y - top)), (min(top + 1, height - 1), y - top)):
                for j, share in ((left, 1 - (x - left)), (min(left + 1, width - 1), x - left)):
                    result[:, row, column] += part * share * image[:, i, j].double()
    return result, depth


def naive_resample(image: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Look every pixel up as `naive_sample` does, up to the end of the image; 0 outside."""
    pixels, depth = naive_sample(image, matrix, size)
    return pixels * (depth >= 0)


@pytest.mark.parametrize(
    ("matrix", "points", "expected"),
    [
        (geometry.identities(1, device=CPU), [(3, 4)], [(3, 4)]),
        (geometry.translations(numbers(2, -5)[None]), [(0, 0), (3, 4)], [(2, -5), (5, -1)]),
        (geometry.scalings(numbers(2, 0.5)[None]), [(0, 0), (3, 4)], [(0, 0), (6, 2)]),
        (flip(10, 0), [(0, 0), (10, 7), (3, 4)], [(10, 0), (0, 7), (7, 4)]),
        (flip(10, 1), [(0, 0), (7, 10), (3, 4)], [(0, 10), (7, 0), (3, 6)]),
        # clockwise as seen: what points right then points down
        (geometry.rotations(numbers(90)), [(1, 0), (0, 1)], [(0, 1), (-1, 0)]),
        (geometry.rotations(numbers(30)), [(2, 0)], [(math.sqrt(3), 1)]),
        (geometry.rotations(numbers(-30)), [(2, 0)], [(math.sqrt(3), -1)]),
        (
            geometry.about(geometry.rotations(numbers(90)), numbers(5, 3)[None]),
            [(5, 3), (6, 3), (5, 4)],
            [(5, 3), (5, 4), (4, 3)],
        ),
        (
            geometry.about(geometry.scalings(numbers(2, 2)[None]), numbers(5, 3)[None]),
            [(5, 3), (6, 3), (0, 0)],
            [(5, 3), (7, 3), (-5, -3)],
        ),
    ],
)
def test_known_points(
    matrix: Tensor, points: list[tuple[float, float]], expected: list[tuple[float, float]]
) -> None:
    assert (matrix.shape, matrix.dtype) == ((1, 3, 3), torch.float64)
    assert moved(matrix, *points) == [list(point) for point in expected]


def test_each_image_of_a_batch_has_its_own_matrix() -> None:
    point = torch.ones(3, 1, 2)
    for matrices, expected in (
        (geometry.identities(3, device=CPU), [[1, 1]] * 3),
        (geometry.translations(torch.arange(6.0).view(3, 2)), [[1, 2], [3, 4], [5, 6]]),
        (geometry.scalings(torch.arange(6.0).view(3, 2)), [[0, 1], [2, 3], [4, 5]]),
        (geometry.rotations(torch.tensor([0.0, 90.0, 180.0])), [[1, 1], [-1, 1], [-1, -1]]),
        (
            geometry.flips(torch.tensor([True, False, True]), torch.tensor([4, 5, 6]), axis=0),
            [[3, 1], [1, 1], [5, 1]],
        ),
        (
            geometry.about(
                geometry.scalings(torch.full((3, 2), 2.0)), torch.arange(6.0).view(3, 2)
            ),
            [[2, 1], [0, -1], [-2, -3]],
        ),
    ):
        found = geometry.transform_points(point, matrices)[:, 0]
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


@given(first=STEPS, second=STEPS, x=st.floats(0, 4096), y=st.floats(0, 4096))
def test_a_product_of_matrices_does_one_after_the_other(
    first: list[tuple[str, float, float]],
    second: list[tuple[str, float, float]],
    x: float,
    y: float,
) -> None:
    point = numbers(x, y).view(1, 1, 2)
    together = geometry.transform_points(point, matrix_of(second) @ matrix_of(first))
    apart = geometry.transform_points(
        geometry.transform_points(point, matrix_of(first)), matrix_of(second)
    )
    torch.testing.assert_close(together, apart, atol=1e-6, rtol=0)


@given(steps=STEPS, x=st.floats(0, 4096), y=st.floats(0, 4096))
def test_the_inverse_undoes_any_composition(
    steps: list[tuple[str, float, float]], x: float, y: float
) -> None:
    point, matrix = numbers(x, y).view(1, 1, 2), matrix_of(steps)
    there = geometry.transform_points(point, matrix)
    back = geometry.transform_points(there, torch.linalg.inv(matrix))
    torch.testing.assert_close(back, point, atol=1e-6, rtol=0)


PICTURES = st.builds(
    lambda flips, angle, factor, x, y: [
        *flips,
        ("rotation", angle, 0),
        ("scale", factor, factor),
        ("shift", x, y),
    ],
    st.lists(st.tuples(st.just("flip"), st.just(4096), st.integers(0, 1)), max_size=2),
    st.floats(-180.0, 180.0),
    st.floats(0.5, 2.0),
    st.floats(-2048.0, 2048.0),
    st.floats(-2048.0, 2048.0),
)


@given(steps=PICTURES, x=st.floats(0, 4096), y=st.floats(0, 4096))
def test_a_batchs_float32_matrices_are_undone_to_a_thousandth_of_a_pixel(
    steps: list[tuple[str, float, float]], x: float, y: float
) -> None:
    point, matrix = numbers(x, y).view(1, 1, 2), matrix_of(steps).float()
    there = geometry.transform_points(point, matrix)
    back = geometry.transform_points(there, torch.linalg.inv(matrix.double()))
    torch.testing.assert_close(back, point, atol=1e-3, rtol=0)


def test_points_keep_their_type_and_are_moved_in_float64() -> None:
    point = torch.tensor([[[4095.0, 1.0]]])
    matrices = geometry.translations(numbers(-4095.0 + 2**-20, 2**-20)[None])
    found = geometry.transform_points(point, matrices)
    assert found.dtype == torch.float32
    assert found.tolist() == [[[2**-20, 1.0 + 2**-20]]]
    assert geometry.transform_points(point, matrices.float()).dtype == torch.float32


@given(steps=STEPS, seed=st.integers(0, 999))
def test_a_moved_box_is_the_one_around_its_moved_corners(
    steps: list[tuple[str, float, float]], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(1, 5, 2, 2, generator=generator, dtype=torch.float64) * 4096
    boxes = torch.cat([corners.amin(dim=2), corners.amax(dim=2)], dim=-1)
    matrix = matrix_of(steps)
    expected = []
    for x1, y1, x2, y2 in boxes[0].tolist():
        quad = [matrix[0] @ numbers(x, y, 1.0) for x in (x1, x2) for y in (y1, y2)]
        xs, ys = ([float(point[axis]) for point in quad] for axis in (0, 1))
        expected.append([min(xs), min(ys), max(xs), max(ys)])
    torch.testing.assert_close(
        geometry.transform_boxes(boxes, matrix), torch.tensor([expected], dtype=torch.float64)
    )


def test_known_boxes_in_a_batch() -> None:
    boxes = numbers(1, 2, 4, 8).view(1, 1, 4).repeat(4, 2, 1)
    matrices = torch.cat(
        [
            flip(10, 0),
            geometry.scalings(numbers(2, 3)[None]),
            geometry.rotations(numbers(90)),
            geometry.rotations(numbers(45)) * math.sqrt(2),
        ]
    )
    found = geometry.transform_boxes(boxes, matrices)
    expected = [[6, 2, 9, 8], [2, 6, 8, 24], [-8, 1, -2, 4], [-7, 3, 2, 12]]
    assert found[:, 0].tolist() == [pytest.approx(box) for box in expected]
    assert torch.equal(found[:, 0], found[:, 1])


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("flip"), st.integers(1, 4096), st.integers(0, 1)),
            st.tuples(st.just("scale"), *[st.sampled_from([0.25, 0.5, 2.0, 3.0])] * 2),
            st.tuples(st.just("shift"), *[st.integers(-4096, 4096)] * 2),
        ),
        max_size=4,
    )
)
def test_flips_scales_and_shifts_are_exact(steps: list[tuple[str, float, float]]) -> None:
    box = [3.0, 5.0, 1001.0, 77.0]
    found = geometry.transform_boxes(numbers(*box).view(1, 1, 4), matrix_of(steps))
    for name, first, second in steps:
        x1, y1, x2, y2 = box
        if name == "flip":
            box = [x1, first - y2, x2, first - y1] if second else [first - x2, y1, first - x1, y2]
        elif name == "scale":
            box = [x1 * first, y1 * second, x2 * first, y2 * second]
        else:
            box = [x1 + first, y1 + second, x2 + first, y2 + second]
    assert found[0, 0].tolist() == box


def test_no_boxes_stay_none() -> None:
    found = geometry.transform_boxes(torch.zeros(2, 0, 4), geometry.identities(2, device=CPU))
    assert (found.shape, found.dtype) == ((2, 0, 4), torch.float32)


def test_nothing_moved_is_the_image_itself() -> None:
    images = random_images(2, 7, 13)
    found = geometry.resample(images, geometry.identities(2, device=CPU), size=(7, 13))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, images, atol=1e-5, rtol=0)


def test_a_large_image_that_is_not_moved_stays_sharp() -> None:
    images = random_images(1, 3, 1024)
    found = geometry.resample(images, geometry.identities(1, device=CPU), size=(3, 1024))
    torch.testing.assert_close(found, images, atol=2e-4, rtol=0)


def test_whole_pixels_are_shifted_as_they_are_and_the_rest_is_0() -> None:
    images = random_images(1, 5, 6)
    matrices = geometry.translations(numbers(2, -1)[None])
    found = geometry.resample(images, matrices, size=(7, 9))
    expected = torch.zeros(1, 3, 7, 9)
    expected[..., :4, 2:8] = images[..., 1:, :]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("axis", "dim"), [(0, 3), (1, 2)])
def test_a_flip_matrix_flips_the_image(axis: int, dim: int) -> None:
    images = random_images(1, 6, 9)
    found = geometry.resample(images, flip(images.shape[dim], axis), size=(6, 9))
    torch.testing.assert_close(found, images.flip(dim), atol=1e-5, rtol=0)


def test_a_quarter_turn_is_clockwise() -> None:
    images = random_images(1, 8, 8)
    matrices = geometry.about(geometry.rotations(numbers(90)), numbers(4, 4)[None])
    found = geometry.resample(images, matrices, size=(8, 8))
    torch.testing.assert_close(found, images.rot90(-1, dims=(2, 3)), atol=1e-5, rtol=0)


def test_a_plain_image_made_larger_is_plain_inside_and_0_outside() -> None:
    matrices = geometry.scalings(numbers(2, 2)[None])
    (found,) = geometry.resample(torch.full((1, 3, 4, 5), 7.0), matrices, size=(10, 13))
    torch.testing.assert_close(found[:, :8, :10], torch.full((3, 8, 10), 7.0))
    assert (found[:, 8:] == 0).all()
    assert (found[:, :, 10:] == 0).all()


@given(
    angle=st.floats(-180.0, 180.0),
    factors=st.tuples(st.floats(0.3, 3.0), st.floats(0.3, 3.0)),
    shift=st.tuples(st.floats(-4.0, 6.0), st.floats(-4.0, 6.0)),
    source=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    target=st.tuples(st.integers(1, 8), st.integers(1, 8)),
)
def test_resampling_equals_a_loop_over_pixels(
    angle: float,
    factors: tuple[float, float],
    shift: tuple[float, float],
    source: tuple[int, int],
    target: tuple[int, int],
) -> None:
    images = random_images(1, *source)
    turn = geometry.about(geometry.rotations(numbers(angle)), numbers(2, 3)[None])
    matrix = geometry.translations(numbers(*shift)[None]) @ turn
    matrix = matrix @ geometry.scalings(numbers(*factors)[None])
    (found,) = geometry.resample(images, matrix, size=target)
    expected = naive_resample(images[0], matrix[0], target)
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=0)


def test_images_of_a_batch_are_resampled_as_alone() -> None:
    images = random_images(3, 6, 9)
    matrices = torch.cat([flip(9, 0), geometry.rotations(numbers(10)), flip(6, 1)])
    together = geometry.resample(images, matrices, size=(7, 8))
    for number in range(3):
        one = slice(number, number + 1)
        torch.testing.assert_close(
            together[one], geometry.resample(images[one], matrices[one], size=(7, 8))
        )
    assert not torch.allclose(together[0], together[1])


@given(steps=PICTURES)
def test_a_bright_spot_goes_where_its_point_goes(steps: list[tuple[str, float, float]]) -> None:
    scale = geometry.scalings(numbers(1 / 64, 1 / 64)[None])  # 4096 px to 64
    matrix = scale @ matrix_of(steps) @ torch.linalg.inv(scale)
    x, y = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="xy")
    spot = numbers(37.0, 21.0)
    images = torch.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / 18.0)[None, None]
    (target,) = geometry.transform_points(spot.view(1, 1, 2), matrix).flatten(0, 1).tolist()
    offset = geometry.translations(numbers(48 - target[0], 48 - target[1])[None])
    (found,) = geometry.resample(images.float(), offset @ matrix, size=(96, 96))[0]
    grid_x, grid_y = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(96) + 0.5, indexing="xy")
    centre = [float((found * grid).sum() / found.sum()) for grid in (grid_x, grid_y)]
    assert centre == pytest.approx([48.0, 48.0], abs=0.05)


def test_matrices_may_live_apart_from_the_images() -> None:
    images = torch.zeros(2, 3, 4, 5, device="meta")  # as a GPU, without one
    found = geometry.resample(images, geometry.identities(2, device=CPU), size=(6, 7))
    assert (found.shape, found.device.type) == ((2, 3, 6, 7), "meta")


def test_autocast_does_not_blur_the_grid() -> None:
    images = random_images(1, 200, 300)
    matrices = geometry.scalings(numbers(0.9, 1.1)[None])
    plain = geometry.resample(images, matrices, size=(220, 270))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = geometry.resample(images, matrices, size=(220, 270))
    assert torch.equal(found, plain)


@given(
    angle=st.floats(-180.0, 180.0),
    factors=st.tuples(st.floats(0.3, 3.0), st.floats(0.3, 3.0)),
    shift=st.tuples(st.floats(-4.0, 6.0), st.floats(-4.0, 6.0)),
    sources=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=3),
    target=st.tuples(st.integers(1, 8), st.integers(1, 8)),
)
def test_sampling_images_of_several_sizes_equals_a_loop_over_pixels(
    angle: float,
    factors: tuple[float, float],
    shift: tuple[float, float],
    sources: list[tuple[int, int]],
    target: tuple[int, int],
) -> None:
    turn = geometry.about(geometry.rotations(numbers(angle)), numbers(2, 3)[None])
    one = geometry.translations(numbers(*shift)[None]) @ turn
    one = one @ geometry.scalings(numbers(*factors)[None])
    matrices = torch.cat(
        [flip(4, 0) @ one if number % 2 else one for number in range(len(sources))]
    )
    images = [random_images(1, *size)[0] for size in sources]
    found, is_inside = geometry.sample(images, matrices, size=target)
    assert (found.shape, found.dtype) == ((len(sources), 3, *target), torch.float32)
    assert (is_inside.shape, is_inside.dtype) == ((len(sources), 1, *target), torch.bool)
    for number, image in enumerate(images):
        expected, depth = naive_sample(image, matrices[number], target)
        torch.testing.assert_close(found[number].double(), expected, atol=2e-5, rtol=0)
        clear = depth.abs() > 1e-4  # on the very edge, rounding decides
        assert torch.equal(is_inside[number, 0][clear], (depth > 0)[clear])


def test_a_sampled_image_of_bytes_that_is_not_moved_is_itself() -> None:
    images = [(random_images(1, *size)[0] * 256).byte() for size in ((2, 2000), (1500, 3), (7, 5))]
    for image in images:
        size = (image.shape[1], image.shape[2])
        found, is_inside = geometry.sample([image], geometry.identities(1, device=CPU), size=size)
        assert is_inside.all()
        torch.testing.assert_close(found[0], image.float(), atol=0.05, rtol=0)


def test_the_border_goes_on_outside_a_sampled_image() -> None:
    image = torch.tensor([[[10, 20], [30, 40]]], dtype=torch.uint8)
    matrix = geometry.translations(numbers(1, 2)[None])
    found, is_inside = geometry.sample([image], matrix, size=(5, 4))
    assert found[0, 0].round().tolist() == [
        [10, 10, 20, 20],
        [10, 10, 20, 20],
        [10, 10, 20, 20],
        [30, 30, 40, 40],
        [30, 30, 40, 40],
    ]
    assert is_inside[0, 0].int().tolist() == [[0] * 4, [0] * 4, *[[0, 1, 1, 0]] * 2, [0] * 4]


def test_images_of_bytes_are_sampled_as_their_numbers() -> None:
    images = [(random_images(1, 6, 9)[0] * 256).byte(), (random_images(1, 4, 3)[0] * 256).byte()]
    matrices = geometry.rotations(numbers(10, -20))
    found, _ = geometry.sample(images, matrices, size=(7, 8))
    expected, _ = geometry.sample([image.double() for image in images], matrices, size=(7, 8))
    assert torch.equal(found, expected)


def test_autocast_does_not_blur_what_is_sampled() -> None:
    images = [random_images(1, 200, 300)[0], random_images(1, 90, 70)[0]]
    matrices = geometry.scalings(numbers(0.9, 1.1, 3.0, 2.0).view(2, 2))
    plain = geometry.sample(images, matrices, size=(220, 270))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = geometry.sample(images, matrices, size=(220, 270))
    assert torch.equal(found[0], plain[0])
    assert torch.equal(found[1], plain[1])


def test_matrices_may_live_apart_from_sampled_images() -> None:
    images = [torch.zeros(3, 4, 5, device="meta"), torch.zeros(3, 7, 2, device="meta")]
    found, is_inside = geometry.sample(images, geometry.identities(2, device=CPU), size=(6, 7))
    assert (found.shape, found.device.type) == ((2, 3, 6, 7), "meta")
    assert is_inside.device.type == "meta"
