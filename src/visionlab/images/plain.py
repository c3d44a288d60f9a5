"""Images without annotations: from decoded pixels to the inputs of a model."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from visionlab.images.decoding import Factor, Stack
from visionlab.images.splits import ImageSplit
from visionlab.images.views import View
from visionlab.task import Batch, Results


@dataclass(frozen=True, kw_only=True)
class PlainImages:
    """How a data set shows any images to a model, as it shows its own without augmentation.

    Attributes:
        sizes: arguments of the model, as in `Data`; weights that replace initial ones may have any.
        factor: maps width and height to the factor by which a decoded image is reduced.
        split: makes a split, without annotations, of decoded images that are numbered from 0.
        results: predictions as plain containers.
    """

    sizes: Mapping[str, Any]
    factor: Factor
    split: Callable[[Stack], ImageSplit[Stack]]
    results: Results

    def batches(
        self, stack: Stack, *, batch_size: int, views: Mapping[str, View] | None
    ) -> Iterator[list[Batch]]:
        """Yield one batch per view, one without views, of images that may share a batch.

        Keys are places in the stack.

        Raises:
            ValueError: the task has no views, or not one of these.
        """
        split = self.split(stack.take(torch.arange(len(stack.rows))))
        for places in split.order(batch_size=batch_size, epoch=0):
            part = stack.take(places)
            if views is None:
                yield [split.assemble(part, 0)]
            else:
                if split.show is None:
                    raise ValueError(f"views must be null for this task, got {len(views)}")
                yield [split.show(part, view) for view in views.values()]
