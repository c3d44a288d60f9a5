"""Decoding of image files in worker processes."""

import io
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from PIL import Image, ImageFile
from torch import Tensor

from visionlab.core import geometry
from visionlab.images.sources import TarMember, read_bytes
from visionlab.images.workers import Workers

Source = Path | TarMember | Tensor  # an image's file, its place in a tar, or (3, H, W) uint8
Factor = Callable[[int, int], int]  # maps width and height to an integer reduction factor
_log = logging.getLogger(__name__)


class Decoded(NamedTuple):
    """An image, or the reason why there is none.

    Attributes:
        row: its number.
        image: (3, H, W) uint8, smaller than the original by `factor`: each pixel is the mean of a
            square.
        factor: an integer.
        size: width and height of the original.
        problem: an error message, or empty.
    """

    row: int
    image: Tensor
    factor: int
    size: tuple[int, int]
    problem: str


class Stack(NamedTuple):
    """The images of a batch.

    Attributes:
        rows: (B,) int64, their numbers.
        pixels: (3, H, W) uint8 each, reduced.
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
        if num_workers < 0:
            raise ValueError(f"dataset.num_workers must be >= 0, got {num_workers}")
        self._hint = hint
        self._workers: Workers[Decoded, Stack] = Workers(
            _Decoder(sources, factor),
            num_rows=len(sources),
            stack=_stack,
            num_workers=num_workers,
        )

    def batches(self, rows: Iterable[Tensor]) -> Iterator[Stack]:
        """Yield the images of each batch of rows, (B,) int64 each.

        Raises:
            ValueError: a file cannot be decoded.
        """
        for stack in self._workers.batches(rows):
            if stack.problems:
                raise ValueError(stack.problems[0] + self._hint)
            yield stack

    def unreadable(self) -> list[int]:
        """Return the rows that cannot be decoded; reads every image once."""
        batches = torch.split(torch.arange(self._workers.num_rows), 64)
        return [
            row
            for stack in self._workers.batches(batches)
            for row, size in zip(stack.rows.tolist(), stack.sizes.tolist(), strict=True)
            if size == [0, 0]
        ]


class KeptImages:
    """Images that are decoded once and stay in memory.

    Args:
        images: the decoder.
        num_images: the number of its images.
    """

    def __init__(self, images: Images, *, num_images: int) -> None:
        rows = torch.split(torch.arange(num_images), 64)
        self._kept = [each for stack in images.batches(rows) for each in _unstacked(stack)]

    def batches(self, rows: Iterable[Tensor]) -> Iterator[Stack]:
        """Yield the images of each batch of rows, (B,) int64 each."""
        for batch in rows:
            yield _stack([self._kept[row] for row in batch.tolist()])


class _Samples(Protocol):
    """Records with an image each."""

    @property
    def sources(self) -> Sequence[Source]:
        """Return the images."""

    def take(self, rows: Sequence[int]) -> Self:
        """Return some of the samples."""


S = TypeVar("S", bound=_Samples)


def drop_unreadable(samples: S, *, num_workers: int) -> tuple[S, list[str]]:
    """Return the samples whose images can be decoded, and the sources of the others.

    Reads every image once and logs a warning for each one that is dropped.
    """
    sources = samples.sources
    images = Images(sources, factor=min, num_workers=num_workers)
    dropped = set(images.unreadable())
    if not dropped:
        return samples, []
    names = [str(sources[row]) for row in sorted(dropped)]
    for name in names:
        _log.warning("skipped %s: it is missing or not an image", name)
    return samples.take([row for row in range(len(sources)) if row not in dropped]), names


class _Decoder:
    """The function that worker processes run."""

    def __init__(self, sources: Sequence[Source], factor: Factor) -> None:
        self._sources = sources
        self._factor = factor

    def __call__(self, row: int) -> Decoded:
        source = self._sources[row]
        if isinstance(source, Tensor):
            width, height = source.shape[2], source.shape[1]
            factor = self._factor(width, height)
            pixels = source if factor == 1 else _reduced(_to_image(source), factor)
            return Decoded(row, pixels, factor, (width, height), "")
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            with Image.open(io.BytesIO(read_bytes(source))) as image:
                decoded = image.convert("RGB")
        except Exception:  # damaged files make decoders raise all kinds of errors
            problem = f"{source} must be an image, got a file that cannot be decoded"
            return Decoded(row, torch.zeros(3, 0, 0, dtype=torch.uint8), 1, (0, 0), problem)
        factor = self._factor(*decoded.size)
        return Decoded(row, _reduced(decoded, factor), factor, decoded.size, "")


def _reduced(image: Image.Image, factor: int) -> Tensor:
    pixels = np.array(image.reduce(factor) if factor > 1 else image)  # a copy: writable
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _to_image(pixels: Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def _stack(images: Sequence[Decoded]) -> Stack:
    return Stack(
        rows=torch.tensor([image.row for image in images]),
        pixels=[image.image for image in images],
        factors=torch.tensor([image.factor for image in images]),
        sizes=torch.tensor([image.size for image in images]),
        problems=[image.problem for image in images if image.problem],
    )


def _unstacked(stack: Stack) -> Iterator[Decoded]:
    """Yield the images of a stack, each with memory of its own."""
    columns = zip(
        stack.rows.tolist(),
        stack.pixels,
        stack.factors.tolist(),
        stack.sizes.tolist(),
        strict=True,
    )
    for row, image, factor, (width, height) in columns:
        yield Decoded(row, image.clone(), factor, (width, height), "")
