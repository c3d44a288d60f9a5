"""Faces in space: 68 points and the outline of the head, deformed, posed and projected.

Points have the order of Sagonas et al., "300 Faces in-the-Wild Challenge", ICCV Workshops 2013: jaw
0-16, brows 17-26, nose 27-35, eyes 36-47, outer lips 48-59, inner lips 60-67. Left and right are
the picture's. In space x points right, y down and z to the viewer; the origin is between the eyes,
and the eye centres of the mean face are one unit apart.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NUM_POINTS = 68
EYES = (tuple(range(36, 42)), tuple(range(42, 48)))  # left, right
# fmt: off
MIRROR = (  # the point that each one becomes in a mirror
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
)
_HALF = {  # left half and middle of the mean face, in hundredths
    0: (-117, 2, -50), 1: (-115, 31, -48), 2: (-111, 60, -45), 3: (-105, 88, -40),
    4: (-95, 115, -32), 5: (-79, 140, -22), 6: (-57, 161, -8), 7: (-30, 176, 6), 8: (0, 181, 12),
    17: (-93, -27, -24), 18: (-78, -38, -6), 19: (-59, -42, 8), 20: (-39, -39, 18),
    21: (-20, -33, 20), 27: (0, -3, 20), 28: (0, 16, 32), 29: (0, 35, 44), 30: (0, 53, 55),
    31: (-22, 66, 26), 32: (-11.5, 70, 34), 33: (0, 73, 38), 36: (-70, 2, -12), 37: (-58, -9, 2),
    38: (-42, -9, 5), 39: (-30, 4, 2), 40: (-42, 8.5, 4), 41: (-58, 8.5, 2), 48: (-43, 112, 14),
    49: (-27, 104.5, 27), 50: (-9.5, 100, 34), 51: (0, 102, 35.5), 57: (0, 131, 30),
    58: (-12, 130, 29), 59: (-28, 123.5, 24), 60: (-37.5, 112.2, 16), 61: (-11, 111, 29),
    62: (0, 112, 30), 66: (0, 114.5, 29), 67: (-11, 114, 28),
}
# fmt: on
_RIGHT = {MIRROR[point]: (-x, y, z) for point, (x, y, z) in _HALF.items()}
MEAN: Floats = np.array([(_HALF | _RIGHT)[point] for point in range(NUM_POINTS)]) / 100
_PIVOT, _DISTANCE = np.array([0, 0.7, -0.5]), 9.5  # middle of the head; from there to the camera


def _changes() -> dict[str, Floats]:
    """Return how far a weight of 1 moves each point of the mean face, (68, 3) each."""
    x, y, _ = MEAN.T
    side, number = np.sign(x), np.arange(NUM_POINTS)
    part = np.repeat(range(5), [17, 10, 9, 12, 20])
    jaw, brows, nose, eyes, lips = (part == number for number in range(5))
    chin = np.clip(y - 0.75, 0, 1) * jaw
    lower_lip = np.isin(number, (*range(55, 60), *range(65, 68))) * (1 - (x / 0.43) ** 2)
    corner = lips * (x / 0.43) ** 2
    changes = {  # along x, y and z
        "jaw_width": (0.09 * x * jaw, 0, 0),
        "chin": (0, 0.14 * chin, 0),
        "eye_size": (0.13 * (x - side / 2) * eyes, 0.3 * (y - 0.005) * eyes, 0),
        "eye_distance": (0.05 * side * (eyes | brows), 0, 0),
        "brow_slant": (0, 0.16 * (np.abs(x) - 0.55) * brows, 0),
        "left_brow": (0, -0.12 * brows * (side < 0), 0),
        "right_brow": (0, -0.12 * brows * (side > 0), 0),
        "nose_length": (0, 0.08 * y * nose + 0.04 * lips + 0.03 * chin, 0),
        "nose_width": (0.2 * x * nose, 0, 0),
        "mouth_width": (0.13 * x * lips, 0, 0),
        "lips": (0, 0.35 * (y - 1.13) * lips * (number < 60), 0),
        "open": (-0.12 * x * lips, 0.42 * lower_lip + 0.26 * chin, 0),
        "smile": (0.22 * x * corner, -0.11 * corner, -0.06 * corner),
    }
    return {name: np.stack(np.broadcast_arrays(*xyz), 1) for name, xyz in changes.items()}


CHANGES = _changes()


def shape(weights: dict[str, float], *, lids: list[float], hairline: float) -> Floats:
    """Return a head in space, (94, 3): 68 points, then 13 each around the forehead and the hair.

    Weights of `CHANGES` are usually in [-1, 1], that of `open` in [0, 1]. The lids of the left and
    the right eye are from 0 (open) to 1 (shut). The hairline is its height above the eyes.
    """
    face = MEAN + sum((weight * CHANGES[name] for name, weight in weights.items()), 0.0)
    for eye, shut in zip(EYES, lids, strict=True):
        upper, lower = list(eye[1:3]), list(eye[:3:-1])
        face[upper] += 0.9 * shut * (face[lower] - face[upper])
    angle = np.linspace(0, np.pi, 13)  # from the left ear over the head to the right one
    arc = np.stack([-face[16, 0] * np.cos(angle), -np.sin(angle), np.sin(angle) / 4 - 0.5], axis=1)
    return np.concatenate([face, arc * [1, hairline, 1], arc * [1.12, 1.35, 1]])


def project(points: Floats, *, angles: Floats, unit_px: float, centre: Floats) -> Floats:
    """Return points in space, (N, 3), as a pinhole camera sees them: (N, 2) x, y in pixels.

    Yaw, pitch and roll are in radians; above 0 the nose points right and down and the head leans
    clockwise in the picture. The middle of the head is at the centre, where a unit is `unit_px`.
    """
    (a, b, c), (d, e, f) = np.cos(angles), np.sin(angles)
    turn = np.array([[a, 0, d], [0, 1, 0], [-d, 0, a]])
    nod = np.array([[1, 0, 0], [0, b, e], [0, -e, b]])
    lean = np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]])
    seen: Floats = (points - _PIVOT) @ (lean @ turn @ nod).T
    return centre + unit_px * seen[:, :2] / (1 - seen[:, 2:] / _DISTANCE)
