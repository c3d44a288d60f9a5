import pytest
import torch

from visionlab.core import geometry
from visionlab.images.rendering import square_fit, square_reduction


@pytest.mark.parametrize(
    ("size", "side", "corners"),  # where the corners of the image come to lie
    [
        ((64, 64), 64, [(0, 0), (64, 64)]),
        ((200, 100), 50, [(-25, 0), (75, 50)]),
        ((100, 200), 50, [(0, -25), (50, 75)]),
        ((30, 60), 90, [(0, -45), (90, 135)]),
        ((3, 2), 2, [(-0.5, 0), (2.5, 2)]),
    ],
)
def test_the_middle_square_is_shown(
    size: tuple[int, int], side: int, corners: list[tuple[float, float]]
) -> None:
    matrix = square_fit(torch.tensor([size]), size_px=side)
    assert (matrix.shape, matrix.dtype) == ((1, 3, 3), torch.float64)
    ends = torch.tensor([[[0, 0], size]], dtype=torch.float64)
    expected = torch.tensor([corners], dtype=torch.float64)
    torch.testing.assert_close(geometry.transform_points(ends, matrix), expected)


@pytest.mark.parametrize(
    ("size", "expected"), [((47, 90), 1), ((95, 200), 1), ((96, 200), 2), ((500, 144), 3)]
)
def test_images_are_kept_at_least_as_large_as_inputs(size: tuple[int, int], expected: int) -> None:
    assert square_reduction(*size, size_px=48) == expected
