"""Images that fit in memory: one uint8 tensor on the training device, cut into batches there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from visionlab.core import seeding
from visionlab.core.processes import Shard, unsharded
from visionlab.images.batching import num_batches, order_rows, split_batches
from visionlab.images.views import View, viewed
from visionlab.task import Batch
from visionlab.tasks.classification.augment import Augment, augment, centre, draw


@dataclass(frozen=True, kw_only=True)
class MemorySplit:
    """Some rows of an image tensor.

    Attributes:
        padded: (N, C, H + 2 pad, W + 2 pad) uint8; shared between splits.
        targets: (N,) int64, shared between splits.
        rows: (M,) int64 on the CPU, the rows that belong to this split; they are the keys too.
        normalisation: (2, C) float32, mean and standard deviation.
        pad_px: the border of `padded`.
        augmentation: what is done to each image, or None.
        seed: of order and augmentation; an order is drawn when there is one, else rows come as
            listed.
    """

    padded: Tensor
    targets: Tensor
    rows: Tensor
    normalisation: Tensor
    pad_px: int
    augmentation: Augment | None
    seed: int | None

    def __len__(self) -> int:
        return len(self.rows)

    def num_batches(self, batch_size: int) -> int:
        """Return how many batches one epoch has."""
        return num_batches(len(self), batch_size)

    def batches(
        self, *, batch_size: int, epoch: int, first_batch: int, shard: Shard = unsharded
    ) -> Iterator[Batch]:
        """Yield batches with inputs (B, C, H, W) float32 and targets (B,) int64."""
        order_seed = None if self.seed is None else seeding.derive(self.seed, "order", epoch)
        order = order_rows(len(self), order_seed=order_seed)
        keys_in_order = self.rows[order].to(self.padded.device)  # once: a GPU waits for each copy
        parts = split_batches(keys_in_order, batch_size=batch_size, first_batch=first_batch)
        for keys in shard(parts):
            yield Batch(self._inputs(keys, epoch), self.targets[keys], keys)

    def view_batches(self, *, batch_size: int, views: Sequence[View]) -> Iterator[list[Batch]]:
        """Yield each batch as it is seen in each view."""
        batches = self.batches(batch_size=batch_size, epoch=0, first_batch=0)
        yield from viewed(batches, views, normalisation=self.normalisation)

    def _inputs(self, keys: Tensor, epoch: int) -> Tensor:
        if self.augmentation is None:
            return centre(self.padded, keys, pad_px=self.pad_px, normalisation=self.normalisation)
        if self.seed is None:
            raise ValueError("seed must be given where there is augmentation, got None")
        return augment(
            self.padded,
            keys,
            augmentation=self.augmentation,
            draws=draw(keys, seed=self.seed, epoch=epoch),
            normalisation=self.normalisation,
        )
