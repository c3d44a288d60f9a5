"""Pictures of faces: painted through given points, with clutter behind and before them."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageDraw import Draw, ImageDraw

from visionlab.tasks.keypoints.datasets.face_shapes import EYES, Floats

_BLACK, _WHITE, _RED = np.array([[0.0, 0.0, 0.0], [250.0, 250.0, 250.0], [190.0, 50.0, 65.0]])
_CIRCLE = np.array([(np.cos(angle), np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 21)])


def draw_picture(head: Floats, size: list[int], rng: Generator) -> NDArray[np.uint8]:
    """Return a picture of a width and height, (H, W, 3): a face of random colours among clutter.

    The points of the head, (94, 2), are those of `face_shapes.shape` as x, y in pixels.
    """
    colours = (rng.uniform(0, 125, 3) + rng.uniform(0, 130, (3, 3, 3))).astype(np.uint8)
    canvas = Image.fromarray(colours).resize([2 * side for side in size], Image.Resampling.BILINEAR)
    draw, unit = Draw(canvas), 2 * float(np.hypot(*(head[45] - head[36]))) / 1.4
    for _ in range(rng.integers(0, 7)):
        _hide(draw, rng.uniform(0, canvas.size), 1.5 * unit, rng)
    _paint_head(draw, 2 * head, unit, rng)
    if rng.random() < 0.15:
        _hide(draw, 2 * head[rng.integers(68)], unit, rng)
    return _photograph(canvas.reduce(2), rng)


def _hide(draw: ImageDraw, at: Floats, size: float, rng: Generator) -> None:
    """Paint an ellipse of any shape, from a disc to a bar, over a place."""
    _fill(draw, rng.uniform(0, 255, 3), at + size * _CIRCLE @ rng.uniform(-0.7, 0.7, (2, 2)))


def _paint_head(draw: ImageDraw, head: Floats, unit: float, rng: Generator) -> None:
    face, forehead, hair = np.split(head, [68, 81])
    skin = rng.uniform(0.3, 1) * rng.uniform([240, 175, 140], [250, 205, 185])
    tint = rng.uniform(0.1, 1) * rng.uniform([180, 110, 50], [225, 180, 150])
    down = np.array([[0, 1], [-1, 0]]) @ (face[36] - face[45]) / 1.4
    _fill(draw, tint, hair, hair[[-1, 0]] + 2.6 * down * (rng.random() < 0.4))  # long or short
    _fill(draw, 0.7 * skin, face[[4, 12]], face[[12, 4]] + 2 * down)  # neck
    _fill(draw, rng.uniform(20, 235, 3), face[8] + 1.9 * down + 1.6 * unit * _CIRCLE)  # body
    for ear in face[[1, 15]]:
        _fill(draw, 0.8 * skin, ear + 0.2 * unit * _CIRCLE)
    left, right = face[[*EYES[0], 36]], face[[*EYES[1][3:], *EYES[1][:4]]]  # from outer corners
    iris, gaze = rng.uniform(30, 150, 3), rng.uniform(-0.06, 0.06, 2) * [unit, 0.3 * unit]
    for eye in (left, right):
        for colour, radius in ((_WHITE, 0.3), (iris, 0.09), (_BLACK, 0.04)):
            _fill(draw, colour, eye[:6].mean(axis=0) + gaze + radius * unit * _CIRCLE)
    _fill(draw, skin, face[:17], right, face[16:17], forehead[::-1], face[:1], left)  # with holes
    for seam in ([0, 36], [16, 45]):
        _line(draw, skin, face[seam], 0.03 * unit)
    if rng.random() < 0.25:  # beard
        _fill(draw, tint, face[2:15], (face[[14, 33, 2]] + face[[54, 51, 48]]) / 2)
    for brow in (face[17:22], face[26:21:-1]):
        half = np.linspace(0.02, 0.06, 5)[:, None] * down
        _fill(draw, 0.5 * tint, brow - half, (brow + half)[::-1])
    _paint_features(draw, face, unit, skin, skin + rng.uniform(0.3, 1) * (_RED - skin))
    if rng.random() < 0.25:  # glasses
        for eye in (left, right):
            _line(draw, 0.3 * iris, eye[:6].mean(axis=0) + 0.36 * unit * _CIRCLE, 0.045 * unit)


def _paint_features(draw: ImageDraw, face: Floats, unit: float, skin: Floats, lips: Floats) -> None:
    _line(draw, 0.7 * skin, face[:17], 0.03 * unit)
    for eye in EYES:
        _line(draw, 0.5 * skin, face[[*eye[3:], eye[0]]], 0.02 * unit)
        _line(draw, _BLACK, face[list(eye[:4])], 0.035 * unit)
    _fill(draw, 0.8 * skin, face[27:31], face[[33, 35]])
    _line(draw, 0.6 * skin + 0.4 * _WHITE, face[27:31], 0.035 * unit)
    _line(draw, 0.5 * skin, face[31:36], 0.03 * unit)
    for nostril in face[[32, 34]]:
        _fill(draw, _BLACK, nostril + 0.04 * unit * _CIRCLE)
    upper, lower = face[60:65], face[[60, 67, 66, 65, 64]]
    _fill(draw, lips, face[48:60])
    _fill(draw, 0.4 * _RED, upper, lower[::-1])
    _fill(draw, _WHITE, upper, (0.7 * upper + 0.3 * lower)[::-1])  # teeth
    _line(draw, 0.5 * lips, upper, 0.02 * unit)


def _photograph(picture: Image.Image, rng: Generator) -> NDArray[np.uint8]:
    """Return the pixels of a picture in uneven light, with noise and, at times, black bars."""
    x, y = (np.linspace(-1, 1, side) * rng.uniform(-0.2, 0.2) for side in picture.size)
    light = (rng.uniform(0.7, 1.1) + x + y[:, None])[:, :, None].astype(np.float32)
    noise = rng.standard_normal(light.shape, np.float32) * np.float32(14 * rng.random() ** 2)
    pixels = (np.asarray(picture) * light + noise).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.12:
        lines = pixels if rng.random() < 0.65 else pixels.swapaxes(0, 1)  # rows or columns
        first, last = (len(lines) * rng.uniform(0, 0.14, 2)).astype(int)
        lines[:first], lines[len(lines) - last :] = 0, 0
    return pixels


def _fill(draw: ImageDraw, colour: Floats, *edges: Floats) -> None:
    draw.polygon(np.concatenate(edges).ravel().tolist(), (*map(int, colour),))


def _line(draw: ImageDraw, colour: Floats, edge: Floats, width: float) -> None:
    draw.line(edge.ravel().tolist(), (*map(int, colour),), max(1, round(width)))
