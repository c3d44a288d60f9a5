"""Decoding of image files in worker processes."""

import functools
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFile
from torch import Tensor

from visionlab.core import geometry
from visionlab.images.arrays import ArrayImage
from visionlab.images.pixels import UnsupportedImageError, decode_rgb, is_damage, open_image
from visionlab.images.sources import StoredImage, read_bytes
from visionlab.images.workers import Workers

Source = StoredImage | ArrayImage | Tensor  # in a file, a tar or an array, or (3, H, W) uint8
Factor = Callable[[int, int], int]  # maps width and height to an integer reduction factor
_MAX_WORKERS = 1024
_log = logging.getLogger(__name__)


class _Problem(NamedTuple):
    message: str
    may_skip: bool  # the file is missing or damaged


# numbers (row, factor, width and height of the original), pixels, and a problem
_Decoded = tuple[tuple[int, int, int, int], Tensor, _Problem | None]
_Packed = tuple[Tensor, Tensor, list[torch.Size], list[_Problem]]


class Stack(NamedTuple):
    """The images of a batch.

    Attributes:
        rows: (B,) int64, their numbers.
        pixels: (3, H, W) uint8 each, reduced: each pixel is the mean of a square.
        factors: (B,) int64, by which they are smaller than their originals.
        sizes: (B, 2) int64, width and height of the originals.
    """

    rows: Tensor
    pixels: list[Tensor]
    factors: Tensor
    sizes: Tensor

    def images(self, device: torch.device) -> list[Tensor]:
        """Return the images on a device, in one transfer."""
        if device.type == "cpu":
            return self.pixels
        shapes = [image.shape for image in self.pixels]
        return _unflatten(_flatten(self.pixels).to(device), shapes)

    def enlargements(self) -> Tensor:
        """Return the matrices from reduced to original pixels, (B, 3, 3) float64."""
        return geometry.scalings(self.factors[:, None].expand(-1, 2))

    def take(self, places: Tensor) -> "Stack":
        """Return the images at some places, (M,) int64, numbered by them."""
        pixels = [self.pixels[place] for place in places.tolist()]
        return Stack(places, pixels, self.factors[places], self.sizes[places])


class Images:
    """Decoder of images by row; results do not depend on the number of workers.

    Args:
        sources: the images.
        factor: maps width and height to the factor by which an image is reduced.
        num_workers: decoding processes; 0 decodes in this one.
        hint: end of the message about an image that is missing or damaged.

    Raises:
        ValueError: `num_workers` is below 0.
    """

    def __init__(
        self, sources: Sequence[Source], *, factor: Factor, num_workers: int, hint: str = ""
    ) -> None:
        self._hint = hint
        self._workers = _workers(sources, factor, num_workers)

    def batches(self, rows: Iterable[Tensor]) -> Iterator[Stack]:
        """Yield the images of each batch of rows, (B,) int64 each.

        Raises:
            ValueError: a file cannot be decoded, or not faithfully.
        """
        for numbers, flat, shapes, problems in self._workers.batches(rows):
            if problems:
                hint = self._hint if problems[0].may_skip else ""
                raise ValueError(problems[0].message + hint)
            yield _stack(numbers, flat, shapes)

    def readable_batches(self, rows: Iterable[Tensor]) -> Iterator[tuple[Stack, Mapping[int, str]]]:
        """Yield the images of each batch of rows, and for unreadable ones the reason by row."""
        for numbers, flat, shapes, problems in self._workers.batches(rows):
            stack = _stack(numbers, flat, shapes)
            is_readable = stack.sizes[:, 0] > 0
            messages = [problem.message for problem in problems]
            unreadable = dict(zip(stack.rows[~is_readable].tolist(), messages, strict=True))
            kept = stack.take(is_readable.nonzero()[:, 0])
            yield kept._replace(rows=stack.rows[is_readable]), unreadable


class KeptImages:
    """The images of a decoder, decoded once and kept in memory."""

    def __init__(self, images: Images, *, num_images: int) -> None:
        rows = torch.split(torch.arange(num_images), 64)
        # copied: what a worker read holds a file descriptor
        kept = [
            (stack.factors.clone(), stack.sizes.clone(), [image.clone() for image in stack.pixels])
            for stack in images.batches(rows)
        ]
        factors, sizes, pixels = zip(*kept, strict=True)
        self._factors, self._sizes = torch.cat(factors), torch.cat(sizes)
        self._pixels = list(chain(*pixels))

    def batches(self, rows: Iterable[Tensor]) -> Iterator[Stack]:
        """Yield the images of each batch of rows, (B,) int64 each."""
        for batch in rows:
            pixels = [self._pixels[row] for row in batch.tolist()]
            yield Stack(batch, pixels, self._factors[batch], self._sizes[batch])


def find_readable(sources: Sequence[Source], *, num_workers: int) -> tuple[list[int], list[str]]:
    """Return the rows of images that can be decoded, and the sources that are missing or damaged.

    Reads every image once and logs a warning for each one that is left out.

    Raises:
        ValueError: an image is not damaged, but too large or not to be shown faithfully.
    """
    workers = _workers(sources, min, num_workers)
    readable: list[int] = []
    for numbers, _, _, problems in workers.batches(torch.split(torch.arange(len(sources)), 64)):
        for problem in problems:
            if not problem.may_skip:
                raise ValueError(problem.message)
            _log.warning("skipped an image: %s", problem.message)
        readable += numbers[numbers[:, 2] > 0, 0].tolist()
    return readable, [str(sources[row]) for row in sorted({*range(len(sources))} - {*readable})]


def _stack(numbers: Tensor, flat: Tensor, shapes: Sequence[torch.Size]) -> Stack:
    return Stack(numbers[:, 0], _unflatten(flat, shapes), numbers[:, 1], numbers[:, 2:])


def _workers(sources: Sequence[Source], factor: Factor, num_workers: int) -> Workers[_Packed]:
    if not 0 <= num_workers <= _MAX_WORKERS:
        rule = ">= 0" if num_workers < 0 else f"<= {_MAX_WORKERS}"
        raise ValueError(f"dataset.num_workers must be {rule}, got {num_workers}")
    return Workers(functools.partial(_read, sources, factor), num_workers=num_workers)


def _read(sources: Sequence[Source], factor: Factor, rows: Sequence[int]) -> _Packed:
    """Decode a batch into two tensors: each one that leaves a worker takes a file descriptor."""
    decoded = [_decode(sources[row], factor, row) for row in rows]
    numbers, pixels, problems = zip(*decoded, strict=True)
    shapes = [image.shape for image in pixels]
    return torch.tensor(numbers), _flatten(pixels), shapes, [each for each in problems if each]


def _decode(source: Source, factor: Factor, row: int) -> _Decoded:
    if isinstance(source, Tensor):
        _, height, width = source.shape
        times = factor(width, height)
        if times > 1:
            source = _reduced(Image.fromarray(source.permute(1, 2, 0).numpy()), times)
        return (row, times, width, height), source, None
    try:
        decoded = _read_rgb(source)
    except Exception as error:  # damaged files make decoders raise all kinds of errors
        return (row, 1, 0, 0), torch.zeros(3, 0, 0, dtype=torch.uint8), _problem(source, error)
    times = factor(*decoded.size)
    return (row, times, *decoded.size), _reduced(decoded, times), None


def _read_rgb(source: StoredImage | ArrayImage) -> Image.Image:
    if isinstance(source, ArrayImage):
        return source.rgb()
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    return decode_rgb(open_image(io.BytesIO(read_bytes(source))))


def _problem(source: StoredImage | ArrayImage, error: Exception) -> _Problem:
    """Tell a file that is missing or damaged from one that is whole, but cannot be used now."""
    if isinstance(error, UnsupportedImageError):
        message = f"{source} {error}"
    elif isinstance(error, MemoryError):
        message = f"{source} must fit into memory, got an image that does not"
    elif isinstance(error, OSError) and error.errno:
        message = f"{source} must be an image, got a file that cannot be read ({error.strerror})"
    else:
        message = f"{source} must be an image, got a file that cannot be decoded"
    return _Problem(message, may_skip=is_damage(error))


def _reduced(image: Image.Image, factor: int) -> Tensor:
    pixels = np.array(image.reduce(factor) if factor > 1 else image)  # a copy: writable
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _flatten(images: Sequence[Tensor]) -> Tensor:
    return torch.cat([image.flatten() for image in images])


def _unflatten(flat: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    parts = torch.split(flat, [shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
