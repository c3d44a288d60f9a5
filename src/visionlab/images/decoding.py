"""Decoding of image files in worker processes."""

import io
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageFile
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from visionlab.core import geometry
from visionlab.images.sources import TarMember, read_bytes
from visionlab.images.workers import Workers

Source = Path | TarMember | Tensor  # an image's file, its place in a tar, or (3, H, W) uint8
Factor = Callable[[int, int], int]  # maps width and height to an integer reduction factor
_log = logging.getLogger(__name__)


class Stack(NamedTuple):
    """The images of a batch.

    Attributes:
        rows: (B,) int64, their numbers.
        pixels: (3, H, W) uint8 each, reduced: each pixel is the mean of a square.
        factors: (B,) int64, by which they are smaller than their originals.
        sizes: (B, 2) int64, width and height of the originals.
        problems: error messages of images that could not be decoded.
    """

    rows: Tensor
    pixels: list[Tensor]
    factors: Tensor
    sizes: Tensor
    problems: list[str]

    def images(self, device: torch.device) -> list[Tensor]:
        """Return the images on a device, in one transfer."""
        if device.type == "cpu":
            return self.pixels
        return _unflatten(_flatten(self.pixels).to(device), _shapes(self.pixels))

    def enlargements(self) -> Tensor:
        """Return the matrices from reduced to original pixels, (B, 3, 3) float64."""
        return geometry.scalings(self.factors[:, None].expand(-1, 2))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as few tensors: each one that leaves a worker takes a file descriptor."""
        numbers = torch.cat([self.rows[:, None], self.factors[:, None], self.sizes], dim=1)
        return _unpickled, (
            _flatten(self.pixels),
            _shapes(self.pixels),
            numbers,
            self.problems,
        )


def _unpickled(
    flat: Tensor, shapes: list[torch.Size], numbers: Tensor, problems: list[str]
) -> Stack:
    return Stack(
        rows=numbers[:, 0],
        pixels=_unflatten(flat, shapes),
        factors=numbers[:, 1],
        sizes=numbers[:, 2:],
        problems=problems,
    )


def _shapes(images: Sequence[Tensor]) -> list[torch.Size]:
    return [image.shape for image in images]


def _flatten(images: Sequence[Tensor]) -> Tensor:
    return torch.cat([image.flatten() for image in images])


def _unflatten(flat: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    parts = torch.split(flat, [shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


class Images:
    """Decoder of images by row; results do not depend on the number of workers.

    Args:
        sources: the images.
        factor: maps width and height to the factor by which an image is reduced.
        num_workers: decoding processes; 0 decodes in this one.
        hint: end of the message about an image that cannot be decoded.

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
            ValueError: a file cannot be decoded.
        """
        for stack in self._workers.batches(rows):
            if stack.problems:
                raise ValueError(stack.problems[0] + self._hint)
            yield stack


class KeptImages:
    """Images that are decoded once and stay in memory.

    Args:
        images: the decoder.
        num_images: the number of its images.
    """

    def __init__(self, images: Images, *, num_images: int) -> None:
        rows = torch.split(torch.arange(num_images), 64)
        self._kept = [one for stack in images.batches(rows) for one in _single_images(stack)]

    def batches(self, rows: Iterable[Tensor]) -> Iterator[Stack]:
        """Yield the images of each batch of rows, (B,) int64 each."""
        for batch in rows:
            yield _joined([self._kept[row] for row in batch.tolist()])


def find_readable(sources: Sequence[Source], *, num_workers: int) -> tuple[list[int], list[str]]:
    """Return the rows of images that can be decoded, and the sources of the others.

    Reads every image once and logs a warning for each one that cannot be decoded.
    """
    workers = _workers(sources, min, num_workers)
    readable: list[int] = []
    for stack in workers.batches(torch.split(torch.arange(len(sources)), 64)):
        readable += stack.rows[stack.sizes.any(dim=1)].tolist()
    dropped = [str(sources[row]) for row in sorted({*range(len(sources))} - {*readable})]
    for name in dropped:
        _log.warning("skipped %s: it is missing or not an image", name)
    return readable, dropped


def _workers(sources: Sequence[Source], factor: Factor, num_workers: int) -> Workers[Stack, Stack]:
    if num_workers < 0:
        raise ValueError(f"dataset.num_workers must be >= 0, got {num_workers}")
    return Workers(_Decoder(sources, factor), stack=_joined, num_workers=num_workers)


class _Decoder:
    """The function that worker processes run."""

    def __init__(self, sources: Sequence[Source], factor: Factor) -> None:
        self._sources = sources
        self._factor = factor

    def __call__(self, row: int) -> Stack:
        source = self._sources[row]
        if isinstance(source, Tensor):
            width, height = source.shape[2], source.shape[1]
            factor = self._factor(width, height)
            pixels = source if factor == 1 else _reduced(to_pil_image(source), factor)
            return _single(row, pixels, factor, (width, height), [])
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            with Image.open(io.BytesIO(read_bytes(source))) as image:
                decoded = image.convert("RGB")
        except Exception:  # damaged files make decoders raise all kinds of errors
            problem = f"{source} must be an image, got a file that cannot be decoded"
            return _single(row, torch.zeros(3, 0, 0, dtype=torch.uint8), 1, (0, 0), [problem])
        factor = self._factor(*decoded.size)
        return _single(row, _reduced(decoded, factor), factor, decoded.size, [])


def _reduced(image: Image.Image, factor: int) -> Tensor:
    pixels: Tensor = pil_to_tensor(image.reduce(factor) if factor > 1 else image)
    return pixels


def _single(
    row: int, pixels: Tensor, factor: int, size: tuple[int, int], problems: list[str]
) -> Stack:
    return Stack(
        torch.tensor([row]), [pixels], torch.tensor([factor]), torch.tensor([size]), problems
    )


def _joined(stacks: Sequence[Stack]) -> Stack:
    rows, pixels, factors, sizes, problems = zip(*stacks, strict=True)
    return Stack(
        rows=torch.cat(rows),
        pixels=list(chain(*pixels)),
        factors=torch.cat(factors),
        sizes=torch.cat(sizes),
        problems=list(chain(*problems)),
    )


def _single_images(stack: Stack) -> Iterator[Stack]:
    """Yield each image of a stack with memory of its own."""
    numbers = (torch.split(each.clone(), 1) for each in (stack.rows, stack.factors, stack.sizes))
    for pixels, row, factor, size in zip(stack.pixels, *numbers, strict=True):
        yield Stack(row, [pixels.clone()], factor, size, [])
