import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionlab.images.resize import Resize

USUAL = Resize(short_px=608, long_px=1024)
SIDES = st.integers(1, 20_000)


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ((640, 480), (811, 608)),  # 640 * 608 / 480 = 810.67
        ((480, 640), (608, 811)),
        ((500, 375), (811, 608)),
        ((608, 608), (608, 608)),
        ((100, 100), (608, 608)),  # small ones grow
        ((1216, 1216), (608, 608)),
        ((1920, 1080), (1024, 576)),  # 608 / 1080 would make it 1081 wide
        ((1080, 1920), (576, 1024)),
        ((1024, 608), (1024, 608)),
        ((2048, 1216), (1024, 608)),
        ((1025, 608), (1024, 607)),
        ((640, 640), (608, 608)),
        ((10_000, 1), (1024, 1)),  # never less than a pixel
        ((1, 10_000), (1, 1024)),
    ],
)
def test_known_sizes(sides: tuple[int, int], expected: tuple[int, int]) -> None:
    assert USUAL.size(width_px=sides[0], height_px=sides[1]) == expected


@pytest.mark.parametrize(
    ("sides", "expected"),
    [((640, 480), 608 / 480), ((1920, 1080), 1024 / 1920), ((1216, 1400), 0.5), ((608, 700), 1.0)],
)
def test_known_scales(sides: tuple[int, int], expected: float) -> None:
    assert USUAL.scale(width_px=sides[0], height_px=sides[1]) == pytest.approx(expected, rel=1e-12)


@given(width=SIDES, height=SIDES, short=st.integers(1, 2000), more=st.integers(0, 2000))
def test_no_side_is_too_long_and_one_is_as_long_as_it_may_be(
    width: int, height: int, short: int, more: int
) -> None:
    resize = Resize(short_px=short, long_px=short + more)
    small, large = sorted(resize.size(width_px=width, height_px=height))
    assert 1 <= small <= short
    assert small <= large <= short + more
    assert small == short or large == short + more


@given(width=SIDES, height=SIDES)
def test_the_shape_is_kept_to_half_a_pixel(width: int, height: int) -> None:
    scale = USUAL.scale(width_px=width, height_px=height)
    for side, resized in zip(
        (width, height), USUAL.size(width_px=width, height_px=height), strict=True
    ):
        assert abs(resized - side * scale) <= 0.5 or resized == 1


@given(width=SIDES, height=SIDES)
def test_sides_are_treated_alike(width: int, height: int) -> None:
    turned = USUAL.size(width_px=height, height_px=width)
    assert USUAL.size(width_px=width, height_px=height) == turned[::-1]


@pytest.mark.parametrize(
    ("short", "long", "message"),
    [
        (0, 10, "short_px must be >= 1, got 0"),
        (-3, 10, "short_px must be >= 1, got -3"),
        (10, 9, "long_px must be >= short_px 10, got 9"),
    ],
)
def test_wrong_settings_are_named(short: int, long: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Resize(short_px=short, long_px=long)


def test_equal_sides_may_be_asked_for() -> None:
    assert Resize(short_px=9, long_px=9).size(width_px=20, height_px=10) == (9, 4)
