"""Pictures of images with what a model found in them."""

import functools
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from visionlab.files.atomic import write_file

_MIN_PX, _TEXT_PX = 480, 14  # least long side of a picture, and height of its text
_QUALITY = 92  # of JPEG
_COLOURS = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
)  # Okabe, Ito
Point = Sequence[float]


class Canvas:
    """A picture of an image; coordinates are those of the original image, in pixels.

    Small images are enlarged, so that text fits.

    Args:
        pixels: (3, H, W) uint8, of the image reduced by a factor.
        factor: see `pixels`.
    """

    def __init__(self, pixels: Tensor, *, factor: int) -> None:
        image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        times = max(1, -(-_MIN_PX // max(image.size)))
        self._image = image.resize(
            (image.width * times, image.height * times), Image.Resampling.NEAREST
        )
        self._scale = times / factor
        self._draw = ImageDraw.Draw(self._image)
        self._title = ""

    def title(self, text: str) -> None:
        """Set the text above the image."""
        self._title = text

    def outline(self, corners: Sequence[Point], text: str, *, colour: int) -> None:
        """Draw a closed polygon with a text above it; colours are numbered."""
        points = [(x * self._scale, y * self._scale) for x, y in corners]
        ink = _COLOURS[colour % len(_COLOURS)]
        self._draw.polygon(points, outline=ink, width=2)
        left, top = (min(column) for column in zip(*points, strict=True))
        width, height = self._draw.textbbox((0, 0), text, font=_font())[2:]
        left = max(0.0, min(left, self._image.width - width - 4))
        top = max(0.0, top - height - 3)
        self._draw.rectangle((left, top, left + width + 3, top + height + 3), fill=ink)
        self._draw.text((left + 2, top + 1), text, font=_font(), fill="black")

    def dots(self, points: Sequence[Point]) -> None:
        """Draw points as dots."""
        radius = max(3.0, max(self._image.size) / 200)
        for x, y in points:
            x, y = x * self._scale, y * self._scale
            box = (x - radius, y - radius, x + radius, y + radius)
            self._draw.ellipse(box, fill=_COLOURS[0], outline="black")

    def save(self, path: Path) -> None:
        """Write the picture as JPEG, atomically; its folder is made.

        Raises:
            OSError: it cannot be written.
        """
        content = io.BytesIO()
        self._framed().save(content, format="JPEG", quality=_QUALITY)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, lambda file: file.write(content.getbuffer()))

    def _framed(self) -> Image.Image:
        """Return the picture below its title, if it has one."""
        if not self._title:
            return self._image
        strip = _TEXT_PX + 8
        framed = Image.new("RGB", (self._image.width, self._image.height + strip), "white")
        framed.paste(self._image, (0, strip))
        ImageDraw.Draw(framed).text((4, 3), self._title, font=_font(), fill="black")
        return framed


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_TEXT_PX)
