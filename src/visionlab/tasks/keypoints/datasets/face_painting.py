"""Paints a face whose points are given, at twice the size of the picture; nothing is random."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from visionlab.tasks.keypoints.datasets.face_curves import extra_scalars
from visionlab.tasks.keypoints.datasets.face_looks import Colour, Look, darker, lighter, mix
from visionlab.tasks.keypoints.datasets.face_points import EYES
from visionlab.tasks.keypoints.datasets.face_shapes import PARTS, Floats

FINE = 2  # how much larger it is drawn than it is shown
_SIDES = ("left", "right")
_TEETH, _MOUTH, _TONGUE = (246, 242, 232), (72, 20, 26), (190, 84, 88)
_EYE_WHITE, _LASHES, _PUPIL = (246, 244, 240), (38, 26, 22), (14, 10, 10)
_GLASS = (200, 220, 255)
_IRIS_SIZE, _PUPIL_SIZE = 0.092, 0.042  # radii as shares of the distance of the eyes
_TAPER = np.sin(np.linspace(0.12, 0.9, 17) * np.pi)[:, None] * 0.7 + 0.3  # of a brow


class _Sketch(NamedTuple):
    """What is painted on, and where; sizes are shares of the distance of the eyes."""

    canvas: Image.Image
    draw: ImageDraw.ImageDraw
    points: Floats  # (M, 2), of the large drawing
    extra_scalars: dict[str, Floats]
    unit: float  # the distance of the eyes
    down: Floats  # (2,), of length 1

    def fill(self, colour: Colour, *edges: Floats, alpha: int = 255) -> None:
        """Fill what the edges enclose together."""
        self.draw.polygon(np.concatenate(edges).ravel().tolist(), fill=(*colour, alpha))

    def line(self, colour: Colour, edge: Floats, size: float, *, alpha: int = 255) -> None:
        """Draw along an edge."""
        width = max(1, round(size * self.unit))
        self.draw.line(edge.ravel().tolist(), fill=(*colour, alpha), width=width)

    def dot(self, colour: Colour, at: Floats, size: float, *, alpha: int = 255) -> None:
        """Draw a disc of the given radius."""
        (x, y), radius = at.tolist(), size * self.unit
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*colour, alpha))

    def below(self, edge: Floats, size: float | Floats) -> Floats:
        """Return an edge moved towards the chin."""
        return edge + size * self.unit * self.down


def paint_face(canvas: Image.Image, points: Floats, look: Look) -> None:
    """Paint a face over an RGB picture of `FINE` times the size.

    The points are (M, 2) as x, y in pixels of the picture, as `face_shapes.project` gives them.
    """
    large = points * FINE
    left, right = (large[list(eye)].mean(axis=0) for eye in EYES)
    across = right - left
    unit = float(np.hypot(*across))
    sketch = _Sketch(
        canvas=canvas,
        draw=ImageDraw.Draw(canvas, "RGBA"),
        points=large,
        extra_scalars=extra_scalars(large),
        unit=unit,
        down=np.array([-across[1], across[0]]) / unit,
    )
    for layer in (_body, _head, _beard, _nose, _mouth, _eyes, _hair, _brows, _glasses):
        layer(sketch, look)


def _body(sketch: _Sketch, look: Look) -> None:
    edges = sketch.extra_scalars
    if look.hair_style != "none":
        outline = edges["locks" if look.hair_style == "long" else "hair"]
        sketch.fill(darker(look.hair, 0.12), outline)
    sketch.fill(darker(look.skin, 0.2), sketch.points[PARTS["neck"]])
    sketch.fill(look.cloth, edges["shoulders"])
    sketch.line(darker(look.cloth, 0.3), edges["shoulders"], 0.03)


def _head(sketch: _Sketch, look: Look) -> None:
    edges = sketch.extra_scalars
    for side in _SIDES:
        sketch.fill(darker(look.skin, 0.1), edges[f"{side}_ear"])
        sketch.line(darker(look.skin, 0.3), edges[f"{side}_ear"], 0.02)
    sketch.fill(look.skin, edges["face"])
    sketch.line(darker(look.skin, 0.25), edges["face"], 0.02)
    for cheek, corner in ((3, 48), (13, 54)):
        at = 0.45 * sketch.points[cheek] + 0.55 * sketch.points[corner]
        red = mix(look.skin, (220, 70, 70), 0.5)
        for size in (0.16, 0.22):
            sketch.dot(red, sketch.below(at, -0.22), size, alpha=round(28 * look.blush))


def _beard(sketch: _Sketch, look: Look) -> None:
    if look.beard != "none":
        alpha = 235 if look.beard == "full" else 70
        edges = sketch.extra_scalars
        sketch.fill(darker(look.hair, 0.05), edges["chin"], edges["beard"][::-1], alpha=alpha)


def _nose(sketch: _Sketch, look: Look) -> None:
    points, edges = sketch.points, sketch.extra_scalars
    shade = darker(look.skin, 0.35)
    sketch.fill(shade, edges["bridge"], points[[33, 35]], alpha=60)
    sketch.line(lighter(look.skin, 0.45), edges["bridge"], 0.035, alpha=150)
    sketch.dot(lighter(look.skin, 0.6), points[30], 0.05, alpha=170)
    for wing in (points[31], points[35]):
        top = sketch.below(wing + 0.2 * (wing - points[33]), -0.1)
        sketch.line(shade, np.stack([wing, top]), 0.03)
    sketch.line(darker(look.skin, 0.5), edges["nostrils"], 0.03)
    for nostril in (points[32], points[34]):
        sketch.dot(darker(look.skin, 0.72), sketch.below(nostril, -0.02), 0.038)


def _mouth(sketch: _Sketch, look: Look) -> None:
    edges = sketch.extra_scalars
    upper, lower = edges["upper_mouth"], edges["lower_mouth"][::-1]
    sketch.fill(look.lips, edges["upper_lip"], edges["lower_lip"])
    sketch.fill(darker(look.lips, 0.18), edges["upper_lip"], upper[::-1])
    shine = sketch.extra_scalars["lower_lip"][6:-6]
    sketch.line(lighter(look.lips, 0.3), sketch.below(shine, -0.06), 0.03, alpha=120)
    gap = float(np.hypot(*(lower - upper).T).max()) / sketch.unit
    sketch.fill(_MOUTH, upper, lower[::-1])
    if gap > 0.06:
        sketch.fill(_TONGUE, upper + 0.72 * (lower - upper), lower[::-1])
        sketch.fill(_TEETH, upper, (upper + min(0.45, 0.07 / gap) * (lower - upper))[::-1])
    sketch.line(darker(look.lips, 0.55), upper, 0.018)
    sketch.line(darker(look.lips, 0.3), edges["upper_lip"], 0.015)
    sketch.line(darker(look.lips, 0.3), edges["lower_lip"], 0.015)


def _eyes(sketch: _Sketch, look: Look) -> None:
    for side, eye in zip(_SIDES, EYES, strict=True):
        upper, lower = (
            sketch.extra_scalars[f"{side}_upper_lid"],
            sketch.extra_scalars[f"{side}_lower_lid"],
        )
        sketch.line(darker(look.skin, 0.3), sketch.below(upper, -0.055), 0.02)
        outline = np.concatenate([upper, lower])
        _eyeball(sketch, look, sketch.points[list(eye)], outline)
        sketch.line(darker(look.skin, 0.5), lower, 0.02)
        sketch.line(_LASHES, upper, 0.035)


def _eyeball(sketch: _Sketch, look: Look, corners: Floats, outline: Floats) -> None:
    """Paint what shows of an eye between its lids."""
    start = np.floor(outline.min(axis=0)).astype(int) - 1
    size = np.ceil(outline.max(axis=0)).astype(int) + 2 - start
    patch = Image.new("RGB", tuple(size.tolist()), _EYE_WHITE)
    mask = Image.new("L", patch.size)
    ImageDraw.Draw(mask).polygon((outline - start).ravel().tolist(), fill=255)
    width = float(np.hypot(*(corners[3] - corners[0])))
    across = (corners[3] - corners[0]) / width
    gaze = look.gaze[0] * 0.2 * width * across + look.gaze[1] * 0.05 * width * sketch.down
    at = corners.mean(axis=0) - start + gaze
    eyeball = sketch._replace(canvas=patch, draw=ImageDraw.Draw(patch, "RGBA"))
    eyeball.dot(darker(look.iris, 0.45), at, _IRIS_SIZE)
    eyeball.dot(look.iris, at, 0.8 * _IRIS_SIZE)
    eyeball.dot(_PUPIL, at, _PUPIL_SIZE)
    eyeball.dot(_EYE_WHITE, at + 0.04 * sketch.unit * (across - sketch.down), 0.022)
    sketch.canvas.paste(patch, tuple(start.tolist()), mask)


def _brows(sketch: _Sketch, look: Look) -> None:
    colour = darker(look.hair, 0.4)
    for side, taper in zip(_SIDES, (_TAPER, _TAPER[::-1]), strict=True):
        brow, half = sketch.extra_scalars[f"{side}_brow"], 0.5 * look.brow_width * taper
        sketch.fill(colour, sketch.below(brow, -half), sketch.below(brow, half)[::-1], alpha=230)


def _hair(sketch: _Sketch, look: Look) -> None:
    """Paint the strands and, over the forehead, the fringe."""
    if look.hair_style == "none":
        return
    hair, roots = sketch.extra_scalars["hair"], sketch.extra_scalars["hairline"]
    if look.has_fringe:
        roots = sketch.extra_scalars["fringe"]
        sketch.fill(look.hair, hair[8:-8], roots[::-1])
    tips = hair[_spread(len(hair))]
    for share in (0.3, 0.6):
        strand = tips + share * (roots[_spread(len(roots))] - tips)
        sketch.line(lighter(look.hair, 0.2), strand, 0.03, alpha=110)


def _spread(count: int) -> NDArray[np.int64]:
    """Return the numbers of as many points of any curve, evenly spread."""
    return np.linspace(0, count - 1, 17).astype(int)


def _glasses(sketch: _Sketch, look: Look) -> None:
    if look.glasses == "none":
        return
    glass, alpha = (_GLASS, 22) if look.glasses == "clear" else (darker(look.rim, 0.4), 225)
    for side in _SIDES:
        lens = sketch.extra_scalars[f"{side}_lens"]
        sketch.fill(glass, lens, alpha=alpha)
        sketch.line(look.rim, lens, 0.045)
    temples = sketch.points[PARTS["temples"]]
    inner = sketch.points[[PARTS["left_lens"].start, PARTS["right_lens"].start]]
    for edge in (temples[:2], temples[2:], inner):
        sketch.line(look.rim, edge, 0.045)
