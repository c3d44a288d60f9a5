"""Images with points in batches: workers decode, the training device moves and resamples."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from visionlab.core import geometry, seeding
from visionlab.core.processes import Shard, unsharded
from visionlab.images.batching import batch_rows, num_batches
from visionlab.images.decoding import Factor, Stack
from visionlab.images.rendering import Change, render, unchanged
from visionlab.images.views import View
from visionlab.task import Batch
from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.records import PointTargets


class Reader(Protocol):
    """Where decoded images come from."""

    def batches(self, rows: Iterable[Tensor]) -> Iterator[Stack]:
        """Yield the images of each batch of rows, (B,) int64 each."""


@dataclass(frozen=True, kw_only=True)
class Picked:
    """Some rows of an array that may be larger than memory; what is asked for is copied."""

    array: np.ndarray[Any, np.dtype[np.float32]]
    rows: np.ndarray[Any, np.dtype[np.int64]]

    def __getitem__(self, index: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return rows, an array."""
        picked: np.ndarray[Any, np.dtype[np.float32]] = self.array[self.rows[index]]
        return picked


@dataclass(frozen=True, kw_only=True)
class Pointed:
    """Images and their points.

    Attributes:
        names: of the files, or what else to call the images.
        keys: (N,) int64, stable ids.
        points: (N, K, 2) float32 in pixels of the original images, NaN where unknown.
        asked: the numbers of the points that a submission has to give, or None for all of them.
    """

    names: Sequence[str]
    keys: Tensor
    points: np.ndarray[Any, np.dtype[np.float32]] | Picked
    asked: Sequence[Sequence[int]] | None

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Sequence[int]) -> "Pointed":
        """Return some of the images."""
        return Pointed(
            names=[self.names[row] for row in rows],
            keys=self.keys[list(rows)],
            points=self._pick(np.array(rows, dtype=np.int64)),
            asked=self.asked and [self.asked[row] for row in rows],
        )

    def _pick(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> Picked:
        if isinstance(self.points, Picked):
            return Picked(array=self.points.array, rows=self.points.rows[rows])
        return Picked(array=self.points, rows=rows)


class PointSplit:
    """Images with points in batches.

    The shorter side of an image becomes `size_px` and the middle square is seen; this, and all
    augmentation, is one matrix and one bilinear sampling. An image at least twice as large is first
    made smaller by a whole factor, each pixel the mean of a square. What lies outside the image is
    0, the mean colour; points there are kept.

    Args:
        samples: the points.
        images: the pictures, by the rows of `samples`.
        size_px: side of the square inputs.
        normalisation: (2, 3) float32, mean and standard deviation, on the training device.
        mirror: (K,) int64, see `PointTargets`, or None.
        augmentation: what is done to each image, or None.
        seed: of order and augmentation, or None for the order of `samples`.
    """

    def __init__(
        self,
        *,
        samples: Pointed,
        images: Reader,
        size_px: int,
        normalisation: Tensor,
        mirror: Tensor | None,
        augmentation: PointAugment | None,
        seed: int | None,
    ) -> None:
        if augmentation is not None and seed is None:
            raise ValueError("seed must be given where there is augmentation, got None")
        self.samples = samples
        self._images = images
        self._size_px = size_px
        self._normalisation = normalisation
        self._mirror = mirror
        self._augmentation = augmentation
        self._seed = seed

    def __len__(self) -> int:
        return len(self.samples)

    def num_batches(self, batch_size: int) -> int:
        """Return how many batches one epoch has."""
        return num_batches(len(self), batch_size)

    def batches(
        self, *, batch_size: int, epoch: int, first_batch: int, shard: Shard = unsharded
    ) -> Iterator[Batch]:
        """Yield batches with inputs (B, 3, S, S) float32 and targets `PointTargets`.

        Raises:
            ValueError: a file cannot be decoded.
        """
        order_seed = None if self._seed is None else seeding.derive(self._seed, "order", epoch)
        rows = batch_rows(
            len(self), batch_size=batch_size, first_batch=first_batch, order_seed=order_seed
        )
        for stack in self._images.batches(shard(rows)):
            change = unchanged(len(stack.rows))
            if self._augmentation is not None and self._seed is not None:
                keys = self.samples.keys[stack.rows]
                change = self._augmentation(
                    keys, size_px=self._size_px, seed=self._seed, epoch=epoch
                )
            yield self._batch(stack, change)

    def view_batches(self, *, batch_size: int, views: Sequence[View]) -> Iterator[list[Batch]]:
        """Yield each batch as it is seen in each view; images are decoded once.

        Raises:
            ValueError: a view is mirrored and the data set does not say how points are permuted.
        """
        if self._mirror is None and any(view.mirror for view in views):
            raise ValueError("views must not mirror points without dataset.mirror, got one")
        rows = batch_rows(len(self), batch_size=batch_size, first_batch=0, order_seed=None)
        size = (self._size_px, self._size_px)
        for stack in self._images.batches(rows):
            changes = [view.change(len(stack.rows), size=size) for view in views]
            yield [self._batch(stack, change) for change in changes]

    def _batch(self, stack: Stack, change: Change) -> Batch:
        device = self._normalisation.device
        fit = square_fit(stack.sizes, size_px=self._size_px)
        enlarge = geometry.scalings(stack.factors[:, None].expand(-1, 2))
        inputs = render(
            stack.images(device),
            fit @ enlarge,
            change,
            size=(self._size_px, self._size_px),
            normalisation=self._normalisation,
        )
        matrices = change.matrices @ fit
        original = torch.from_numpy(self.samples.points[stack.rows.numpy()])
        return Batch(
            inputs,
            _targets(original, matrices, mirror=self._mirror, device=device),
            self.samples.keys[stack.rows].to(device),
            matrices.float().to(device),
        )


def square_fit(sizes: Tensor, *, size_px: int) -> Tensor:
    """Return the matrices that show the middle square of images at a size, (B, 3, 3) float64.

    Args:
        sizes: (B, 2), width and height of the original images.
        size_px: the shorter side becomes so long.
    """
    sizes = sizes.double()
    scales = size_px / sizes.amin(dim=1, keepdim=True)
    margins = (sizes * scales - size_px) / 2
    return geometry.translations(-margins) @ geometry.scalings(scales.expand(-1, 2))


def reduction(size_px: int) -> Factor:
    """Return how many times smaller an image of a width and height may be kept for inputs."""
    return _Reduction(size_px)


@dataclass(frozen=True)
class _Reduction:
    """A callable that worker processes can be sent."""

    size_px: int

    def __call__(self, width: int, height: int) -> int:
        return max(1, min(width, height) // self.size_px)


def _targets(
    original: Tensor, matrices: Tensor, *, mirror: Tensor | None, device: torch.device
) -> PointTargets:
    points = geometry.transform_points(original, matrices)
    if mirror is not None:
        is_mirrored = torch.linalg.det(matrices) < 0
        points = torch.where(is_mirrored[:, None, None], points[:, mirror], points)
    is_known = points.isfinite().all(dim=2)
    return PointTargets(
        points=torch.where(is_known[:, :, None], points, 0.0).to(device),
        is_known=is_known.to(device),
        original=original.to(device),
        mirror=None if mirror is None else mirror.to(device),
    )
