"""Smooth extra_scalars through the points of a face, all of them by one matrix product.

Catmull-Rom splines, which go through their points and are linear in them.
"""

from collections.abc import Sequence

import numpy as np

from visionlab.tasks.keypoints.datasets.face_points import EYES
from visionlab.tasks.keypoints.datasets.face_shapes import MEAN, PARTS, Floats

_STEPS = 4  # straight pieces between two points
_BASIS = 0.5 * np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])


def _lines() -> dict[str, Sequence[int]]:
    """Return the points that each curve goes through; one that ends where it starts is closed."""
    part = {name: list(range(len(MEAN)))[place] for name, place in PARTS.items()}
    half = len(part["locks"]) // 2
    lines: dict[str, Sequence[int]] = {
        "face": [*range(17), *part["forehead"][::-1], 0],
        "hairline": [0, *part["forehead"], 16],
        "hair": part["hair"],
        "locks": [*part["locks"][:half], *part["hair"], *part["locks"][half:]],
        "fringe": part["fringe"],
        "chin": range(2, 15),
        "beard": [2, *part["beard"], 14],
        "shoulders": part["shoulders"],
        "left_brow": range(17, 22),
        "right_brow": range(22, 27),
        "bridge": range(27, 31),
        "nostrils": range(31, 36),
        "upper_lip": range(48, 55),
        "lower_lip": [*range(54, 60), 48],
        "upper_mouth": range(60, 65),
        "lower_mouth": [*range(64, 68), 60],
    }
    for side, eye in zip(("left", "right"), EYES, strict=True):
        lines[f"{side}_upper_lid"] = eye[:4]
        lines[f"{side}_lower_lid"] = [*eye[3:], eye[0]]
        for name in (f"{side}_ear", f"{side}_lens"):
            lines[name] = [*part[name], part[name][0]]
    return lines


def _spline(line: Sequence[int]) -> Floats:
    """Return the matrix, (1 + steps, M), from all points to the points of one curve."""
    is_closed = line[0] == line[-1]
    through = np.eye(len(MEAN))[list(line)]
    before, after = 2 * through[0] - through[1], 2 * through[-1] - through[-2]
    if is_closed:
        before, after = through[-2], through[1]
    control = np.stack([before, *through, after])
    powers = (np.arange(_STEPS)[:, None] / _STEPS) ** np.arange(4)
    pieces = [powers @ _BASIS @ control[i : i + 4] for i in range(len(line) - 1)]
    return np.concatenate([*pieces, through[-1:]])


def _matrix() -> tuple[Floats, dict[str, slice]]:
    splines = {name: _spline(line) for name, line in _lines().items()}
    ends = np.cumsum([len(spline) for spline in splines.values()]).tolist()
    places = map(slice, [0, *ends[:-1]], ends)
    return np.concatenate(list(splines.values())), dict(zip(splines, places, strict=True))


_SPLINES, _PLACES = _matrix()


def extra_scalars(points: Floats) -> dict[str, Floats]:
    """Return the extra_scalars through the points of a face, (M, 2), as (P, 2) points each."""
    through = _SPLINES @ points
    return {name: through[place] for name, place in _PLACES.items()}
