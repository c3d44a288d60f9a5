"""Faces in space: 68 points and what surrounds them, deformed, turned and projected.

A face is a mean shape plus a weighted sum of changes, which act on all points at once. x points
to the picture's right, y down and z to the viewer; the origin is between the eyes, and the centres
of the eyes of the mean face are one unit apart.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionlab.tasks.keypoints.datasets.face_points import EYES, MIRROR, NUM_POINTS

Floats = NDArray[np.float64]
_PIVOT = np.array([0.0, 0.6, -0.5])  # about which a head turns
_VIEWER = 9.0  # how far away from the eyes the viewer is

# fmt: off
_HALF = {  # the left half and the middle of the mean face
    0: (-1.17, 0.02, -0.5), 1: (-1.15, 0.31, -0.48), 2: (-1.11, 0.6, -0.45),
    3: (-1.05, 0.88, -0.4), 4: (-0.95, 1.15, -0.32), 5: (-0.79, 1.4, -0.22),
    6: (-0.57, 1.61, -0.08), 7: (-0.3, 1.76, 0.06), 8: (0.0, 1.81, 0.12),
    17: (-0.93, -0.27, -0.24), 18: (-0.78, -0.38, -0.06), 19: (-0.59, -0.42, 0.08),
    20: (-0.39, -0.39, 0.18), 21: (-0.2, -0.33, 0.2),
    27: (0.0, -0.03, 0.2), 28: (0.0, 0.16, 0.32), 29: (0.0, 0.35, 0.44), 30: (0.0, 0.53, 0.55),
    31: (-0.22, 0.66, 0.26), 32: (-0.115, 0.7, 0.34), 33: (0.0, 0.73, 0.38),
    36: (-0.7, 0.02, -0.12), 37: (-0.58, -0.09, 0.02), 38: (-0.42, -0.09, 0.05),
    39: (-0.3, 0.04, 0.02), 40: (-0.42, 0.085, 0.04), 41: (-0.58, 0.085, 0.02),
    48: (-0.43, 1.12, 0.14), 49: (-0.27, 1.045, 0.27), 50: (-0.095, 1.0, 0.34),
    51: (0.0, 1.02, 0.355), 57: (0.0, 1.31, 0.3), 58: (-0.12, 1.3, 0.29), 59: (-0.28, 1.235, 0.24),
    60: (-0.375, 1.122, 0.16), 61: (-0.11, 1.11, 0.29), 62: (0.0, 1.12, 0.3),
    66: (0.0, 1.145, 0.29), 67: (-0.11, 1.14, 0.28),
}
_ARCS = {  # what else is drawn, from the left to the middle
    "forehead": ((-1.14, -0.3, -0.5), (-1.04, -0.64, -0.38), (-0.66, -0.98, -0.24),
                 (0, -1.08, -0.2)),
    "hair": ((-1.24, 0.3, -0.75), (-1.34, -0.15, -0.75), (-1.3, -0.62, -0.7), (-1.02, -1.12, -0.6),
             (-0.55, -1.42, -0.5), (0, -1.5, -0.45)),
    "locks": ((-1.2, 3.4, -0.8), (-1.4, 1.4, -0.8), (-1.44, 0.5, -0.8)),
    "fringe": ((-1.1, -0.36, -0.4), (-0.62, -0.66, -0.12), (-0.2, -0.78, -0.08), (0, -0.8, -0.06)),
    "beard": ((-0.8, 0.98, -0.1), (-0.52, 0.9, 0.12), (-0.2, 0.86, 0.33), (0, 0.85, 0.36)),
    "neck": ((-0.8, 3.2, -0.7), (-0.72, 1.1, -0.7)),
    "shoulders": ((-2.6, 5.0, -0.7), (-2.3, 2.75, -0.7), (-0.85, 2.1, -0.7), (0, 2.35, -0.5)),
    "temples": ((-1.2, 0.02, -0.7), (-0.8, -0.05, -0.02)),
}
# fmt: on
_EAR = ((-1.14, -0.02, -0.7), (-1.3, -0.03, -0.8), (-1.3, 0.3, -0.8), (-1.15, 0.55, -0.7))
_LENS = 16  # points around each eye


def _mirrored(points: Floats) -> Floats:
    return points * [-1.0, 1.0, 1.0]


def _mean() -> tuple[Floats, dict[str, slice]]:
    """Return the points of the mean face, (M, 3), the 68 first, and where each part is."""
    face = np.zeros((NUM_POINTS, 3))
    for point, place in _HALF.items():
        face[point] = place
        face[MIRROR[point]] = _mirrored(face[point])
    parts = {"face": face}
    for name, half in _ARCS.items():
        left = np.array(half, dtype=np.float64)
        right = _mirrored(left[::-1])
        parts[name] = np.concatenate([left, right[int(left[-1, 0] == 0.0) :]])
    angles = np.arange(_LENS) * math.tau / _LENS
    turns = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    x, y = (np.sign(turns) * np.abs(turns) ** 0.75 * [0.37, 0.29]).T  # a square with round corners
    lens = np.stack([x - 0.49, y + 0.04, 0.3 * x + 0.16], axis=1)
    for name, left in (("ear", np.array(_EAR)), ("lens", lens)):
        parts[f"left_{name}"], parts[f"right_{name}"] = left, _mirrored(left)
    ends = np.cumsum([len(part) for part in parts.values()]).tolist()
    places = map(slice, [0, *ends[:-1]], ends)
    return np.concatenate(list(parts.values())), dict(zip(parts, places, strict=True))


MEAN, PARTS = _mean()
_LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))  # upper and lower


def _changes() -> dict[str, Floats]:
    """Return how much a weight of 1 moves the points of the mean face, (M, 3) each."""
    x, y, _ = MEAN.T
    side, number = np.sign(x), np.arange(len(MEAN))
    jaw, brows = number <= 16, (number >= 17) & (number <= 26)
    nose, eyes = (number >= 27) & (number <= 35), (number >= 36) & (number <= 47)
    lips, outer = (number >= 48) & (number <= 67), (number >= 48) & (number <= 59)
    lens = np.zeros(len(MEAN), dtype=bool)
    for name in ("left_lens", "right_lens"):
        lens[PARTS[name]] = True
    around = ~(brows | nose | eyes | lips | lens)
    below = np.clip((y - 0.75) / 1.0, 0.0, 1.0) * jaw
    lower = np.clip(1.0 - (x / 0.43) ** 2, 0.0, 1.0) ** 0.5
    lower *= np.isin(number, [*range(55, 60), *range(65, 68)])
    corner = lips * np.clip(np.abs(x) / 0.43, 0.0, 1.0) ** 2
    from_eye = MEAN - np.where(side[:, None] < 0, *(MEAN[list(eye)].mean(0) for eye in EYES))
    zero = 0.0 * x
    changes = {  # along x, y and z
        "jaw_width": (0.09 * x * around, zero, zero),
        "jaw_square": (0.09 * side * jaw * np.exp(-(((y - 1.25) / 0.35) ** 2)), zero, zero),
        "chin": (zero, 0.14 * below, zero),
        "forehead": (zero, 0.12 * y * around * (y < -0.5), zero),
        "eye_size": (0.13 * from_eye[:, 0] * eyes, 0.13 * from_eye[:, 1] * eyes, zero),
        "eye_height": (zero, 0.25 * from_eye[:, 1] * eyes, zero),
        "eye_slant": (zero, -0.16 * side * from_eye[:, 0] * eyes, zero),
        "eye_distance": (0.05 * side * (eyes | brows | lens), zero, zero),
        "brow_height": (zero, -0.07 * brows, zero),
        "brow_slant": (zero, 0.16 * (np.abs(x) - 0.55) * brows, zero),
        "brow_arch": (zero, 0.05 * brows * (((np.abs(x) - 0.56) / 0.3) ** 2 - 0.5), zero),
        "nose_length": (zero, 0.08 * (y + 0.03) * nose + 0.04 * lips + 0.03 * below, zero),
        "nose_width": (0.2 * x * nose, zero, zero),
        "nose_depth": (zero, zero, 0.12 * nose * np.clip(y, 0, 1)),
        "mouth_width": (0.13 * x * lips, zero, zero),
        "lips": (zero, 0.35 * (y - 1.13) * outer, zero),
        "open": (-0.12 * x * lips, 0.42 * lower + 0.26 * below, zero),
        "smile": (0.22 * x * corner, -0.11 * corner + 0.015 * lower, -0.06 * corner),
        "left_brow": (zero, -0.09 * brows * (side < 0), zero),
        "right_brow": (zero, -0.09 * brows * (side > 0), zero),
    }
    return {name: np.stack(each, axis=1) for name, each in changes.items()}


CHANGES = _changes()
_STACKED = np.stack([change.ravel() for change in CHANGES.values()])


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How a head is held, and where it is in the picture.

    Attributes:
        yaw: in radians; above 0 the nose points to the picture's right.
        pitch: above 0 it points down.
        roll: above 0 the head leans clockwise, as seen.
        eye_px: what the distance of the eyes is where the mean face looks straight ahead.
        centre: x and y in pixels of the middle of the box around the 68 points.
    """

    yaw: float
    pitch: float
    roll: float
    eye_px: float
    centre: tuple[float, float]


def shape(weights: Mapping[str, float], *, lids: Sequence[float]) -> Floats:
    """Return a face in space, (M, 3), the 68 points first; `PARTS` says where the rest is.

    Args:
        weights: of some of `CHANGES`, usually in [-1, 1].
        lids: how far the left and the right eye are shut, from 0 to 1.
    """
    moves = np.array([weights.get(name, 0.0) for name in CHANGES]) @ _STACKED
    points = MEAN + moves.reshape(MEAN.shape)
    for (upper, lower), is_right in zip(_LIDS, (False, False, True, True), strict=True):
        # a thin gap stays, and the lower lid comes up a little
        shut = lids[is_right]
        points[lower, 1] -= 0.2 * shut * (points[lower, 1] - points[upper, 1])
        points[upper] += 0.94 * shut * (points[lower] - points[upper])
    return points


def project(points: Floats, pose: Pose) -> Floats:
    """Return points in space, (M, 3), as seen in the picture, (M, 2) x and y in pixels."""
    angles = [pose.yaw, pose.pitch, pose.roll]
    sin, cos = np.sin(angles), np.cos(angles)
    turn = np.array([[cos[0], 0.0, sin[0]], [0.0, 1.0, 0.0], [-sin[0], 0.0, cos[0]]])
    nod = np.array([[1.0, 0.0, 0.0], [0.0, cos[1], sin[1]], [0.0, -sin[1], cos[1]]])
    lean = np.array([[cos[2], -sin[2]], [sin[2], cos[2]]])
    seen = (points - _PIVOT) @ (turn @ nod).T
    flat: Floats = (
        (seen[:, :2] / (1.0 - (seen[:, 2:] + _PIVOT[2]) / _VIEWER)) @ lean.T * pose.eye_px
    )
    box = flat[:NUM_POINTS]
    flat += np.array(pose.centre) - (box.min(axis=0) + box.max(axis=0)) / 2.0
    return flat
