"""Oriented boxes for tests, and oracles that go polygon by polygon."""

import math
from collections.abc import Sequence

import torch
from hypothesis import strategies as st
from torch import Tensor

Point = tuple[float, float]
Box = tuple[float, float, float, float, float]

ANGLES = st.floats(-10.0, 10.0)
SIDES = st.floats(0.5, 500.0)
BOXES = st.tuples(st.floats(-300.0, 300.0), st.floats(-300.0, 300.0), SIDES, SIDES, ANGLES)
NEAR_BOXES = st.tuples(  # most of which overlap
    st.floats(-20.0, 20.0), st.floats(-20.0, 20.0), st.floats(1, 60), st.floats(1, 60), ANGLES
)


def tensor(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def turned(cx: float, cy: float, width: float, height: float, degrees: float) -> Tensor:
    """Return a box with an angle in degrees, (1, 5)."""
    return tensor((cx, cy, width, height, math.radians(degrees)))


def corners_of(box: Box) -> list[Point]:
    """Return the corners of a box, clockwise on the screen."""
    cx, cy, width, height, angle = box
    cos, sin = math.cos(angle), math.sin(angle)
    halves = [(-width / 2, -height / 2), (width / 2, -height / 2)]
    halves += [(width / 2, height / 2), (-width / 2, height / 2)]
    return [(cx + cos * x - sin * y, cy + sin * x + cos * y) for x, y in halves]


def area_of(polygon: Sequence[Point]) -> float:
    """Return the signed area of a polygon; 0 without corners."""
    following = [*polygon[1:], *polygon[:1]]
    pairs = zip(polygon, following, strict=True)
    return sum(x * v - y * u for (x, y), (u, v) in pairs) / 2


def clipped(polygon: Sequence[Point], window: Sequence[Point]) -> list[Point]:
    """Return a polygon clipped to a convex window, both clockwise, by lists of corners."""
    found = list(polygon)
    for (ax, ay), (bx, by) in zip(window, [*window[1:], *window[:1]], strict=True):
        before, found = found, []
        sides = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for x, y in before]
        for number, (x, y) in enumerate(before):
            last, (u, v) = sides[number - 1], before[number - 1]
            if (sides[number] >= 0) != (last >= 0):
                share = last / (last - sides[number])
                found.append((u + share * (x - u), v + share * (y - v)))
            if sides[number] >= 0:
                found.append((x, y))
    return found


def iou_of(one: Box, other: Box) -> float:
    """Return the IoU of two boxes."""
    common = abs(area_of(clipped(corners_of(one), corners_of(other))))
    return common / (one[2] * one[3] + other[2] * other[3] - common)
