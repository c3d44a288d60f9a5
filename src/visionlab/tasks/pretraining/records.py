"""Records that readers of pretraining data return."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from visionlab.images.decoding import Source
from visionlab.tasks.pretraining.object_boxes import ObjectBoxes

NO_LABEL = -1


class StoredImages(NamedTuple):
    """Images of one size in memory.

    Attributes:
        images: (N, 3, H, W) uint8.
        labels: (N,) int64; `NO_LABEL` where there is none.
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """Image files of any size.

    Attributes:
        sources: N files.
        labels: (N,) int64; `NO_LABEL` where there is none.
        keys: (N,) int64, stable ids.
        boxes: what views show of an image.
    """

    sources: Sequence[Source]
    labels: Tensor
    keys: Tensor
    boxes: ObjectBoxes

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, rows: Sequence[int]) -> "ImageFiles":
        """Return some of the files."""
        rows = list(rows)
        return ImageFiles(
            sources=[self.sources[row] for row in rows],
            labels=self.labels[rows],
            keys=self.keys[rows],
            boxes=self.boxes.take(rows),
        )
