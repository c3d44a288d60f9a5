"""Drawn pictures of faces with 68 points, each of which follows from a seed and a key alone.

The features are drawn through the very points, at twice the size, so that the points can be found
to a fraction of a pixel. Their order is that of `face_points`.
"""

import numpy as np
from numpy.typing import NDArray

from visionlab.core import seeding
from visionlab.tasks.keypoints.datasets.face_looks import random_look
from visionlab.tasks.keypoints.datasets.face_painting import FINE, paint_face
from visionlab.tasks.keypoints.datasets.face_photo import background, cover, light, photograph
from visionlab.tasks.keypoints.datasets.face_points import NUM_POINTS
from visionlab.tasks.keypoints.datasets.face_shapes import CHANGES, Floats, Pose, project, shape

SIDES_PX = (96, 160)  # least and greatest


def draw_face(key: int, *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return a picture, (H, W, 3), and its 68 points, (68, 2) as x, y in pixels.

    Points stay where they are when something hides them, and a few lie outside.
    """
    rng = np.random.default_rng(seeding.derive(seed, "drawn faces", key))
    width, height = (int(side) for side in rng.integers(SIDES_PX[0], SIDES_PX[1] + 1, 2))
    face = random_face(rng)
    points = project(face, random_pose(rng, width=width, height=height))
    look = random_look(rng)
    canvas = background(rng, (FINE * width, FINE * height))
    paint_face(canvas, points, look)
    cover(canvas, FINE * points, look, rng)
    pixels = photograph(canvas, light(points, (width, height), rng), rng)
    return pixels, points[:NUM_POINTS].astype(np.float32)


def random_face(rng: np.random.Generator) -> Floats:
    """Return a face in space as `face_shapes.shape` does, of random build and expression."""
    weights = dict(zip(CHANGES, rng.uniform(-1.0, 1.0, len(CHANGES)).tolist(), strict=True))
    weights["open"] = max(0.0, rng.uniform(-0.9, 1.0))
    raised = rng.uniform(-0.4, 1.0)
    for brow in ("left_brow", "right_brow"):
        weights[brow] = raised + 0.4 * weights[brow]
    kind, shut = rng.random(2)
    lids = 0.35 * rng.random(2) * shut
    if kind < 0.08:
        lids[:] = 1.0 - 0.1 * shut
    elif kind < 0.12:
        lids[int(2 * shut)] = 1.0
    elif kind < 0.25:
        lids[:] = 0.3 + 0.6 * shut
    return shape(weights, lids=lids.tolist())


def random_pose(rng: np.random.Generator, *, width: int, height: int) -> Pose:
    """Return a pose in which the face fills most of a picture of so many pixels."""
    yaw, pitch, roll = np.radians([20.0, 12.0, 15.0]) * (rng.random(3) - rng.random(3))
    shift = min(width, height) * 0.05 * (rng.random(2) - rng.random(2))
    return Pose(
        yaw=float(yaw),
        pitch=float(pitch),
        roll=float(roll),
        eye_px=min(width, height) * rng.uniform(0.3, 0.37),
        centre=(width / 2.0 + float(shift[0]), 0.53 * height + float(shift[1])),
    )
