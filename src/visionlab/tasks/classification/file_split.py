"""Images in files: worker processes decode them, the training device augments whole batches."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageFile
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop, pil_to_tensor, resize

from visionlab.core import seeding
from visionlab.core.processes import Shard, unsharded
from visionlab.images.batching import batch_rows, num_batches
from visionlab.images.views import View, viewed
from visionlab.images.workers import Workers
from visionlab.task import Batch
from visionlab.tasks.classification.augment import Augment, augment, centre, draw, pad

_Decoded = tuple[int, Tensor | None]  # row; image (3, size, size) uint8, or None if unreadable


class FileSplit:
    """Labelled image files in batches.

    Workers only decode, resize the short side and crop the centre, none of which is random; they
    are started once and serve every epoch. Results are the same for any number of workers.

    Args:
        paths: one file a sample.
        labels: (N,) int64.
        keys: (N,) int64, stable ids.
        size_px: side of the square images.
        normalisation: (2, C) float32, mean and standard deviation, on the training device.
        augmentation: what is done to each image, or None.
        seed: of order and augmentation, or None for the order of `paths`.
        num_workers: decoding processes; 0 decodes in this one.
    """

    def __init__(
        self,
        *,
        paths: Sequence[Path],
        labels: Tensor,
        keys: Tensor,
        size_px: int,
        normalisation: Tensor,
        augmentation: Augment | None,
        seed: int | None,
        num_workers: int,
    ) -> None:
        self._paths = paths
        self._labels = labels
        self._keys = keys
        self._normalisation = normalisation
        self._augmentation = augmentation
        self._seed = seed
        self._workers = Workers(
            functools.partial(_decode, paths, size_px=size_px),
            num_rows=len(paths),
            stack=_stack,
            num_workers=num_workers,
        )

    def __len__(self) -> int:
        return len(self._paths)

    def num_batches(self, batch_size: int) -> int:
        """Return how many batches one epoch has."""
        return num_batches(len(self), batch_size)

    def batches(
        self, *, batch_size: int, epoch: int, first_batch: int, shard: Shard = unsharded
    ) -> Iterator[Batch]:
        """Yield batches with inputs (B, 3, size, size) float32 and targets (B,) int64.

        Raises:
            ValueError: a file cannot be decoded.
        """
        order_seed = None if self._seed is None else seeding.derive(self._seed, "order", epoch)
        order = batch_rows(
            len(self), batch_size=batch_size, first_batch=first_batch, order_seed=order_seed
        )
        device = self._normalisation.device
        for rows, images, unreadable in self._workers.batches(shard(order)):
            if images is None:
                raise ValueError(
                    f"{self._paths[unreadable[0]]} cannot be read as an image; set "
                    "dataset.skip_unreadable=true to go on without such files"
                )
            keys = self._keys[rows].to(device)
            yield Batch(
                self._inputs(images.to(device), keys, epoch), self._labels[rows].to(device), keys
            )

    def view_batches(self, *, batch_size: int, views: Sequence[View]) -> Iterator[list[Batch]]:
        """Yield each batch as it is seen in each view."""
        batches = self.batches(batch_size=batch_size, epoch=0, first_batch=0)
        yield from viewed(batches, views, normalisation=self._normalisation)

    def _inputs(self, images: Tensor, keys: Tensor, epoch: int) -> Tensor:
        rows = torch.arange(len(images), device=images.device)
        if self._augmentation is None:
            return centre(images, rows, pad_px=0, normalisation=self._normalisation)
        if self._seed is None:
            raise ValueError("seed must be given where there is augmentation, got None")
        return augment(
            pad(images, self._augmentation.pad_px),
            rows,
            augmentation=self._augmentation,
            draws=draw(keys, seed=self._seed, epoch=epoch),
            normalisation=self._normalisation,
        )


def find_unreadable(paths: Sequence[Path], *, num_workers: int) -> list[int]:
    """Return the numbers of the files that cannot be decoded; reads every file once."""
    workers = Workers(
        functools.partial(_decode, paths, size_px=1),
        num_rows=len(paths),
        stack=_stack,
        num_workers=num_workers,
    )
    batches = torch.split(torch.arange(len(paths)), 64)
    return [row for _, _, unreadable in workers.batches(batches) for row in unreadable]


def _stack(decoded: Sequence[_Decoded]) -> tuple[Tensor, Tensor | None, list[int]]:
    """Return rows (B,) and images (B, 3, size, size) uint8, or None if some are unreadable; which.

    One tensor a batch leaves a worker: each takes a file descriptor.
    """
    unreadable = [row for row, image in decoded if image is None]
    images = [image for _, image in decoded if image is not None]
    stacked = None if unreadable else torch.stack(images)
    return torch.tensor([row for row, _ in decoded]), stacked, unreadable


def _decode(paths: Sequence[Path], row: int, *, size_px: int) -> _Decoded:
    """Return file number `row`; what cannot be decoded is None, and the parent decides."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(paths[row]) as image:
            pixels = image.convert("RGB")
    except Exception:  # what a damaged file makes a decoder raise is not to be foreseen
        return row, None
    resized = resize(pixels, [size_px])
    return row, pil_to_tensor(center_crop(resized, [size_px, size_px]))
