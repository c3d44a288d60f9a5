"""Pixels of image files as a viewer shows them, or a refusal that names the reason."""

import os
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError
from PIL.Image import Transpose

MAX_PIXELS = "VISIONLAB_MAX_IMAGE_PIXELS"  # an environment variable
_DEFAULT_MAX_PIXELS = 178_956_970  # Pillow's limit
# the others of Pillow are no photographs, and reading some of them starts programs
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF")
_ORIENTATION = 0x0112  # tags of EXIF and TIFF
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_SWAPPED = (5, 6, 7, 8)  # width and height change places
# Pillow scales pixels of PNG files with few or many bits, but not the colour that is transparent
_COLOUR_SCALES = {"1": 255, "L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}
_UNSUPPORTED = {"F": "32-bit floating point", "I": "signed or 32-bit integers"}

Image.MAX_IMAGE_PIXELS = None  # `open_image` has the limit, without a warning at half of it


class UnsupportedImageError(ValueError):
    """An undamaged image that cannot be shown faithfully, or is too large."""


def is_damage(error: Exception) -> bool:
    """Return whether an error in reading says that a file is missing, private or damaged.

    Otherwise it may be whole: it is too large or not to be shown faithfully, or the machine cannot
    read it now, with too many files open, say.
    """
    if isinstance(error, OSError) and error.errno:  # of the file system; decoders set no number
        return isinstance(error, FileNotFoundError | PermissionError)
    return not isinstance(error, UnsupportedImageError | MemoryError)


class Header(NamedTuple):
    """Size of an image.

    Attributes:
        stored_px: width and height of the pixels in the file.
        orientation: EXIF's, 1 (upright) to 8.
    """

    stored_px: tuple[int, int]
    orientation: int

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the upright image."""
        width, height = self.stored_px
        return (height, width) if self.orientation in _SWAPPED else (width, height)


def open_image(file: BinaryIO) -> ImageFile.ImageFile:
    """Open an image file without decoding it.

    Raises:
        UnsupportedImageError: it has more pixels than `VISIONLAB_MAX_IMAGE_PIXELS`, or is a TIFF
            of channels that Pillow does not know, in double precision for example.
        OSError: it cannot be read, or is not an image. Other errors are possible.
    """
    try:
        image = Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError as error:
        if _is_unknown_tiff(file):
            rule = "must have 8 or 16 bits a channel and 1, 3 or 4 channels"
            raise UnsupportedImageError(f"{rule}, got another kind of TIFF; convert it") from error
        raise
    limit = _max_pixels()
    if image.width * image.height > limit:
        raise UnsupportedImageError(
            f"must have at most {limit:,} pixels, got {image.width}x{image.height}; "
            f"the environment variable {MAX_PIXELS} raises the limit"
        )
    return image


def _is_unknown_tiff(file: BinaryIO) -> bool:
    """Return whether a file is a whole TIFF with pixels of a kind that Pillow does not know."""
    file.seek(0)
    try:
        TiffImagePlugin.TiffImageFile(file)
    except Exception as error:  # damaged files make Pillow raise all kinds of errors
        return str(error) == "unknown pixel mode"
    return False


def read_header(image: ImageFile.ImageFile) -> Header:
    """Return size and orientation of an image that is not decoded yet.

    TIFF files count as upright: Pillow turns them.
    """
    if image.format == "TIFF":
        return Header(image.size, 1)
    try:
        # not PngImageFile.getexif, which decodes: orientation after the pixels is ignored
        orientation = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF makes Pillow raise all kinds of errors; the pixels are whole
        orientation = 1
    return Header(image.size, orientation if orientation in _TURNS else 1)


def decode_rgb(image: ImageFile.ImageFile) -> Image.Image:
    """Return an open image upright, in RGB with 8 bits a channel.

    EXIF's orientation is applied. The highest 8 of 12 or 16 bits are kept. Transparent pixels are
    drawn over white. Colour profiles are ignored. Of an animation the first frame is returned.

    Raises:
        UnsupportedImageError: the pixels are floating-point numbers or wide integers.
        OSError: the file is truncated. Other errors are possible.
    """
    orientation = read_header(image).orientation
    _scale_transparent_colour(image)
    image.load()
    upright = image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _highest_bits(upright, image).convert("RGB")
    if image.mode in _UNSUPPORTED:
        raise UnsupportedImageError(
            f"must have 8 or 16 bits a channel, got {_UNSUPPORTED[image.mode]} "
            f"(Pillow's mode {image.mode}); convert it"
        )
    return _opaque(upright) if image.has_transparency_data else _rgb(upright)


def array_rgb(values: np.ndarray[Any, Any]) -> Image.Image:
    """Return an array (H, W) or (H, W, 1, 3 or 4) of 8 or 16 bits as `decode_rgb` does a file."""
    levels = (values >> 8).astype(np.uint8) if values.dtype == np.uint16 else values
    squeezed = levels[:, :, 0] if levels.ndim == 3 and levels.shape[2] == 1 else levels
    image = Image.fromarray(np.ascontiguousarray(squeezed))
    return _opaque(image) if image.mode == "RGBA" else _rgb(image)


def _rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


def _opaque(image: Image.Image) -> Image.Image:
    """Return an image over white."""
    colours = image.convert("RGBA")
    if colours.getchannel("A").getextrema() == (255, 255):
        return colours.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, colours).convert("RGB")


def _highest_bits(image: Image.Image, source: Image.Image) -> Image.Image:
    """Return 8 bits of grey of an image with 12 or 16; `source` is as read, with TIFF's tags."""
    values = np.asarray(image)
    tags = getattr(source, "tag_v2", {})
    (bits,) = tags.get(_BITS_PER_SAMPLE, (16,))
    grey = (values >> (bits - 8)).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    if "transparency" in source.info:
        grey[values == source.info["transparency"]] = 255
    return Image.fromarray(grey)


def _scale_transparent_colour(image: ImageFile.ImageFile) -> None:
    colour = image.info.get("transparency")
    if image.format != "PNG" or not isinstance(colour, int | tuple) or not image.tile:
        return
    scale = _COLOUR_SCALES.get(str(image.tile[0].args), 1)
    scaled = tuple(int(value * scale) for value in np.atleast_1d(colour))
    image.info["transparency"] = scaled if isinstance(colour, tuple) else scaled[0]


def _max_pixels() -> int:
    text = os.environ.get(MAX_PIXELS, str(_DEFAULT_MAX_PIXELS))
    if not text.isdecimal():
        raise UnsupportedImageError(f"needs {MAX_PIXELS} to be a number of pixels, got {text!r}")
    return int(text)
