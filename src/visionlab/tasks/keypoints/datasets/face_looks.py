"""What a drawn face looks like apart from its shape: colours, hair, glasses, what hides it."""

import bisect
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

Colour = tuple[int, int, int]
Hair = Literal["none", "short", "long"]
Beard = Literal["none", "stubble", "full"]
Glasses = Literal["none", "clear", "dark"]
Cover = Literal["none", "band", "ball", "hand"]
_Kind = TypeVar("_Kind", bound=str)

_SKIN = (
    *((255, 224, 196), (244, 205, 172), (232, 184, 146), (214, 160, 118)),
    *((186, 128, 88), (150, 98, 64), (112, 70, 46), (78, 48, 34)),
)
_HAIR = (
    *((28, 22, 20), (52, 34, 26), (88, 56, 36), (128, 84, 48), (206, 164, 92)),
    *((150, 62, 32), (132, 130, 128), (222, 220, 214)),
)
_DYED = ((90, 150, 210), (214, 98, 150), (110, 80, 170), (70, 160, 110))
_IRIS = (
    (72, 44, 26),
    (104, 66, 34),
    (122, 104, 52),
    (84, 124, 84),
    (88, 130, 168),
    (110, 122, 130),
)
_LIPSTICK = ((196, 40, 60), (160, 36, 78), (222, 96, 104))
_HAIR_STYLES: dict[Hair, float] = {"none": 0.1, "short": 0.5, "long": 0.4}
_BEARDS: dict[Beard, float] = {"none": 0.72, "stubble": 0.14, "full": 0.14}
_GLASSES: dict[Glasses, float] = {"none": 0.76, "clear": 0.2, "dark": 0.04}
_COVERS: dict[Cover, float] = {"none": 0.85, "band": 0.05, "ball": 0.05, "hand": 0.05}
_RIMS = ((20, 20, 22), (60, 36, 24), (120, 20, 30), (150, 152, 158), (30, 50, 90))
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Look:
    """Colours are red, green and blue from 0 to 255.

    Attributes:
        skin: of the face.
        hair: of the head, the brows and the beard.
        lips: of the lips.
        iris: of both eyes.
        cloth: of the shoulders.
        hair_style: `none` is a bald head.
        has_fringe: whether hair falls over the forehead.
        beard: how much of it.
        glasses: `dark` ones hide the eyes nearly.
        rim: the colour of the glasses.
        gaze: where the irises are, x to the right and y down, in [-1, 1].
        brow_width: of the brows, as a share of the distance of the eyes.
        blush: how red the cheeks are, from 0 to 1.
        cover: what hides a part of the face.
    """

    skin: Colour
    hair: Colour
    lips: Colour
    iris: Colour
    cloth: Colour
    hair_style: Hair
    has_fringe: bool
    beard: Beard
    glasses: Glasses
    rim: Colour
    gaze: tuple[float, float]
    brow_width: float
    blush: float
    cover: Cover


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return a colour between two, which is `other` where its share is 1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def darker(colour: Colour, share: float) -> Colour:
    """Return a colour mixed with a share of black."""
    return mix(colour, _BLACK, share)


def lighter(colour: Colour, share: float) -> Colour:
    """Return a colour mixed with a share of white."""
    return mix(colour, _WHITE, share)


def any_colour(rng: np.random.Generator) -> Colour:
    """Return a colour from the whole cube."""
    red, green, blue = (int(256 * part) for part in rng.random(3))
    return red, green, blue


def muted_colour(rng: np.random.Generator) -> Colour:
    """Return a colour that is nearer to a grey of its own."""
    grey = int(40 + 180 * rng.random())
    return mix(any_colour(rng), (grey, grey, grey), 0.55)


def random_look(rng: np.random.Generator) -> Look:
    """Return a look; most faces have nothing before them."""
    tone = rng.random() * (len(_SKIN) - 1.001)
    skin = mix(_SKIN[int(tone)], _SKIN[int(tone) + 1], tone % 1.0)
    hair = _pick(rng, _DYED if rng.random() < 0.06 else _HAIR)
    made_up = rng.random() < 0.25
    natural = mix(skin, (178, 58, 62), 0.35 + 0.2 * rng.random())
    return Look(
        skin=skin,
        hair=mix(hair, any_colour(rng), 0.06),
        lips=mix(natural, _pick(rng, _LIPSTICK), 0.7 * made_up),
        iris=_pick(rng, _IRIS),
        cloth=muted_colour(rng),
        hair_style=_one_of(rng, _HAIR_STYLES),
        has_fringe=rng.random() < 0.3,
        beard=_one_of(rng, _BEARDS),
        glasses=_one_of(rng, _GLASSES),
        rim=_pick(rng, _RIMS),
        gaze=(rng.uniform(-1.0, 1.0), rng.uniform(-1.0, 1.0)),
        brow_width=rng.uniform(0.06, 0.11),
        blush=rng.uniform(0.0, 1.0),
        cover=_one_of(rng, _COVERS),
    )


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(rng.random() * len(colours))]


def _one_of(rng: np.random.Generator, shares: Mapping[_Kind, float]) -> _Kind:
    """Return one of the keys, which are drawn as often as their shares say."""
    kinds, ends = list(shares), list(itertools.accumulate(shares.values()))
    return kinds[bisect.bisect_right(ends, rng.random() * ends[-1])]
