"""What is around, before and upon a drawn face: background, cover, light, noise, black bars."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from visionlab.tasks.keypoints.datasets.face_looks import (
    Colour,
    Look,
    any_colour,
    darker,
    muted_colour,
)
from visionlab.tasks.keypoints.datasets.face_painting import FINE
from visionlab.tasks.keypoints.datasets.face_shapes import Floats

Pixels = NDArray[np.float32]

_GREY_SHARE, _BLUR_SHARE, _BARS_SHARE = 0.08, 0.2, 0.12
_EVEN = 160  # where the map of light changes nothing
_COARSE = 4  # pixels of the picture that one of the map of light stands for


def background(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Return soft colours with a few hard shapes in front, RGB of width and height."""
    base = np.array(muted_colour(rng))
    patches = base + (rng.random((3, 3, 3)) - 0.5) * rng.uniform(10.0, 130.0)
    canvas = Image.fromarray(patches.clip(0, 255).astype(np.uint8)).resize(
        size, Image.Resampling.BILINEAR
    )
    draw = ImageDraw.Draw(canvas, "RGBA")
    for _ in range(int(rng.random() ** 2 * 8)):
        x, y, wide, high = (rng.random(4) * np.tile(size, 2)).tolist()
        colour = (*any_colour(rng), int(40 + 180 * rng.random()))
        box = (x - wide / 4, y - high / 4, x + wide / 4, y + high / 4)
        kind = rng.random()
        if kind < 0.35:
            draw.rectangle(box, fill=colour)
        elif kind < 0.65:
            draw.ellipse(box, fill=colour)
        else:
            draw.line(
                (x, y, 2 * wide - x, 2 * high - y), fill=colour, width=int(2 + 14 * rng.random())
            )
    return canvas


def cover(canvas: Image.Image, points: Floats, look: Look, rng: np.random.Generator) -> None:
    """Hide a part of the face, whose points are (M, 2) pixels of the large drawing."""
    if look.cover == "none":
        return
    draw = ImageDraw.Draw(canvas)
    colour, unit = any_colour(rng), float(np.hypot(*(points[45] - points[36])) / 1.4)
    x, y = points[int(rng.random() * 68)].tolist()
    angle = math.tau * rng.random()
    along = np.array([math.cos(angle), math.sin(angle)])
    if look.cover == "ball":
        radius = unit * rng.uniform(0.25, 0.5)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    elif look.cover == "band":
        ends = np.array([x, y]) + np.outer([-9.0 * unit, 9.0 * unit], along)
        draw.line(ends.ravel().tolist(), fill=colour, width=int(unit * rng.uniform(0.25, 0.5)))
    else:
        _hand(draw, np.array([x, y]), along, unit, darker(look.skin, 0.1))


def _hand(draw: ImageDraw.ImageDraw, tip: Floats, along: Floats, unit: float, skin: Colour) -> None:
    """Draw four fingers that reach to a point in the direction `along`, their palm and its arm."""
    aside = np.array([-along[1], along[0]])
    for number, length in enumerate((0.0, 0.12, 0.05, -0.18)):
        end = tip + unit * (length * along + 0.2 * (number - 1.5) * aside)
        start = tip + unit * (-0.9 * along + 0.19 * (number - 1.5) * aside)
        for colour, width in ((darker(skin, 0.35), 0.24), (skin, 0.2)):
            draw.line([*start.tolist(), *end.tolist()], fill=colour, width=round(width * unit))
            _disc(draw, end, width * unit / 2.0, colour)
    _disc(draw, tip - 1.25 * unit * along, 0.52 * unit, skin)
    wrist = [*(tip - 1.25 * unit * along).tolist(), *(tip - 9.0 * unit * along).tolist()]
    draw.line(wrist, fill=skin, width=round(0.7 * unit))


def _disc(draw: ImageDraw.ImageDraw, at: Floats, radius: float, colour: Colour) -> None:
    x, y = at.tolist()
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def light(points: Floats, size: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """Return how bright the light is at each pixel, (H, W) float32, about 1.

    One side of the face is darker, softly; the points are (M, 2) pixels of the picture.
    """
    width, height = size
    rough = Image.new("L", (-(-width // _COARSE), -(-height // _COARSE)), _EVEN)
    draw, coarse = ImageDraw.Draw(rough), points / _COARSE
    depth, number, *slopes = rng.random(5).tolist()
    draw.polygon(coarse[:17].ravel().tolist(), fill=_EVEN + 14)
    outline = [*(range(9) if number < 0.5 else range(16, 7, -1)), 57, 33, 30, 27]
    draw.polygon(coarse[outline].ravel().tolist(), fill=_EVEN - int(45 * depth))
    smooth = rough.filter(ImageFilter.BoxBlur(2)).resize(
        size, Image.Resampling.BILINEAR, box=(0.0, 0.0, width / _COARSE, height / _COARSE)
    )
    slope_x, slope_y = 0.7 * slopes[0] - 0.35, 0.6 * slopes[1] - 0.25
    across = slope_x * (np.arange(width, dtype=np.float32) / width - 0.5)
    down = 0.7 + 0.42 * slopes[2] - slope_y * (np.arange(height, dtype=np.float32) / height - 0.5)
    brightness: Pixels = np.asarray(smooth, np.float32) / _EVEN * (down[:, None] + across)
    return brightness


def photograph(canvas: Image.Image, light: Pixels, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture, (H, W, 3) uint8, of a drawing in the light (H, W)."""
    picture = canvas.reduce(FINE)
    if rng.random() < _BLUR_SHARE:
        picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(0.3, 0.9)))
    pixels = np.asarray(picture) * light[:, :, None]
    grain = np.frombuffer(rng.bytes(pixels.size), np.int8).reshape(pixels.shape)
    pixels += grain * np.float32(0.12 * rng.random() ** 2)
    shown = np.clip(pixels, 0.0, 255.0, out=pixels).astype(np.uint8)
    if rng.random() < _GREY_SHARE:
        shown = np.array(Image.fromarray(shown).convert("L").convert("RGB"))
    if rng.random() < _BARS_SHARE:
        sides = shown if rng.random() < 0.65 else shown.swapaxes(0, 1)  # above and below, or beside
        first, last = (len(sides) * 0.14 * rng.random(2)).astype(int).tolist()
        sides[:first], sides[len(sides) - last :] = 0, 0
    return shown
