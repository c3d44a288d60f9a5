"""Records that readers of classification data return."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from visionlab.images.decoding import Source


class LabelledImages(NamedTuple):
    """Images of one size in memory.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class LabelledFiles:
    """Image files of any size.

    Attributes:
        sources: N files.
        labels: (N,) int64.
        keys: (N,) int64, stable ids.
    """

    sources: Sequence[Source]
    labels: Tensor
    keys: Tensor

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, rows: Sequence[int]) -> "LabelledFiles":
        """Return some of the files."""
        rows = list(rows)
        sources = [self.sources[row] for row in rows]
        return LabelledFiles(sources=sources, labels=self.labels[rows], keys=self.keys[rows])
