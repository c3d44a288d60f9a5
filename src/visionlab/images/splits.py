"""Splits of images: batches, sharing between processes and views, written once for all tasks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from visionlab.core.processes import Shard, unsharded
from visionlab.images.batching import BatchOrder
from visionlab.images.views import View
from visionlab.task import Batch, Split

Read = TypeVar("Read")
Augmentation = TypeVar("Augmentation")


@dataclass(frozen=True, kw_only=True)
class Training(Generic[Augmentation]):
    """Augmentation of a split that is trained on.

    Attributes:
        augmentation: the task's settings.
        seed: of order and augmentation.
    """

    augmentation: Augmentation
    seed: int


@dataclass(frozen=True, kw_only=True)
class ImageSplit(Generic[Read]):
    """Samples in batches; a task supplies the functions that make a batch.

    `Read` is the content of a batch before it is assembled: a `decoding.Stack` of images from
    files, or only rows if all images are one tensor on the training device.

    Attributes:
        samples: the samples, with a length; pictures and submissions read names and keys from them.
        order: returns the rows of each batch of an epoch.
        read: yields the content of each batch of rows.
        assemble: makes a batch of its content, for an epoch counted from 0.
        show: makes one view of a batch from its content, without augmentation; None if the task has
            no views.
        bank: samples with which a metric compares these, see `Split`; None if it needs none.
    """

    samples: Any
    order: BatchOrder
    read: Callable[[Iterable[Tensor]], Iterable[Read]]
    assemble: Callable[[Read, int], Batch]
    show: Callable[[Read, View], Batch] | None
    bank: Split | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def num_batches(self, batch_size: int) -> int:
        """Return the number of batches of an epoch."""
        return len(self.order(batch_size=batch_size, epoch=0))

    def batches(
        self, *, batch_size: int, epoch: int, first_batch: int, shard: Shard = unsharded
    ) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `first_batch` on.

        Raises:
            ValueError: a file cannot be decoded, or does not match its annotation.
        """
        rows = self.order(batch_size=batch_size, epoch=epoch)[first_batch:]
        for content in self.read(shard(rows)):
            yield self.assemble(content, epoch)

    def view_batches(self, *, batch_size: int, views: Sequence[View]) -> Iterator[list[Batch]]:
        """Yield the views of each batch; every image is read once for all of them.

        Raises:
            ValueError: the task has no views, or not one of these.
        """
        if self.show is None:
            raise ValueError(f"views must be null for this task, got {len(views)}")
        for content in self.read(self.order(batch_size=batch_size, epoch=0)):
            yield [self.show(content, view) for view in views]
