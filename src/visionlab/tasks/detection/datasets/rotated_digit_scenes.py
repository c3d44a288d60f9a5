"""Synthetic scenes of turned digits, annotated with oriented boxes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from visionlab.core import geometry, polygons
from visionlab.core.checks import check_range
from visionlab.task import Data
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.datasets.digit_scenes import (
    EMPTY_PROB,
    MAX_DIGITS,
    NUM_PLACES,
    SIZES,
    DigitScenes,
    annotate_scene,
    clutter,
    draw_numbers,
    enlarge,
    noise,
    paint,
    scene_splits,
)
from visionlab.tasks.detection.records import Annotated


@dataclass(frozen=True, kw_only=True)
class RotatedDigitScenes(DigitScenes):
    """The scenes of `DigitScenes` with digits that are turned about their centres.

    Attributes:
        rotation_degrees: maximum rotation in either direction; turned by 180, a 6 would be a 9.
    """

    rotation_degrees: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "[0, 90]", "rotation_degrees")

    def __call__(self, *, augmentation: BoxAugment, seed: int, device: torch.device) -> Data:
        """Return the splits; keys start at 0 (train), 10**9 (val) and 2 * 10**9 (test)."""
        make = partial(make_rotated_scenes, rotation_degrees=self.rotation_degrees)
        return scene_splits(self, make, augmentation=augmentation, seed=seed, device=device)


def make_rotated_scenes(
    count: int,
    *,
    first_key: int,
    digits: Tensor,
    labels: Tensor,
    rotation_degrees: float,
    seed: int,
) -> list[Annotated]:
    """Return scenes of turned digits, see `make_scenes`."""
    keys = range(first_key, first_key + count)
    return [
        _scene(partial(draw_numbers, key, seed), key, digits.float(), labels, rotation_degrees)
        for key in keys
    ]


def _scene(
    draw: Callable[..., Tensor], key: int, digits: Tensor, labels: Tensor, rotation_degrees: float
) -> Annotated:
    """Paint clutter, then digits, then noise; polygons are the turned tight boxes of the digits."""
    size, emptiness, number, grain = draw("scene", 4).tolist()
    canvas = clutter(draw, *SIZES[int(size * len(SIZES))])
    rows: dict[tuple[int, ...], int] = {}
    outlines = [torch.zeros(0, 4, 2, dtype=torch.float64)]
    num_digits = 0 if emptiness < EMPTY_PROB else 1 + int(number * MAX_DIGITS)
    turns = (2.0 * draw("turns", MAX_DIGITS).double() - 1.0) * rotation_degrees
    looks = draw("digits", MAX_DIGITS, 8 + 2 * NUM_PLACES).tolist()
    for numbers, degrees in zip(looks[:num_digits], turns[:num_digits], strict=True):
        row = int(numbers[0] * len(digits))
        upright = enlarge(digits[row], size=numbers[1], aspect=numbers[2])
        alpha, outline = turn(upright, degrees)
        if box := paint(canvas, alpha, rows, numbers[3:]):
            rows[box] = row
            outlines.append(outline + torch.tensor(box[:2]))
    canvas += noise(draw, canvas, grain)
    corners = torch.cat(outlines)
    return replace(
        annotate_scene(canvas, key, rows, labels),
        boxes=polygons.bounds(corners),
        polygons=corners,
        areas=polygons.areas(corners),
    )


def turn(alpha: Tensor, degrees: Tensor) -> tuple[Tensor, Tensor]:
    """Turn the opacities (h, w) of a digit clockwise on the screen.

    Returns:
        The opacities of the pixels around the turned digit, (H, W), and the corners of its turned
        box in them, (1, 4, 2) float64.
    """
    height, width = alpha.shape
    corners = torch.tensor([[[0, 0], [width, 0], [width, height], [0, height]]]).double()
    matrix = geometry.rotations(degrees[None])
    moved = geometry.transform_points(corners, matrix)
    low, high = moved.amin(dim=1), moved.amax(dim=1)
    sides = (high - low - 1e-6).ceil()  # rounding of a right angle adds no pixel
    shift = geometry.translations((sides - low - high) / 2)
    wide, tall = sides[0].int().tolist()
    turned = geometry.resample(alpha[None, None], shift @ matrix, size=(tall, wide))
    return turned[0, 0], geometry.transform_points(moved, shift)
