"""Records that the parts of the task exchange."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from visionlab.images.decoding import Source

_Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SelectedRows:
    """Some rows of an array that may be larger than memory; only rows that are read are copied."""

    array: "_Floats | SelectedRows"
    rows: NDArray[np.int64]

    def __getitem__(self, index: Any) -> _Floats:
        """Return rows as an array."""
        selected: _Floats = self.array[self.rows[index]]
        return selected


@dataclass(frozen=True, kw_only=True)
class KeypointSamples:
    """Images and their points.

    Attributes:
        sources: the images.
        names: file names, or other names of the images.
        keys: (N,) int64, stable ids.
        points: (N, K, 2) float32 as x, y in pixels of the original images, NaN where unknown.
        requested: the numbers of the points of each image that a submission must give, or None for
            all of them.
    """

    sources: Sequence[Source]
    names: Sequence[str]
    keys: Tensor
    points: _Floats | SelectedRows
    requested: Sequence[Sequence[int]] | None

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Sequence[int]) -> "KeypointSamples":
        """Return some of the samples."""
        return KeypointSamples(
            sources=[self.sources[row] for row in rows],
            names=[self.names[row] for row in rows],
            keys=self.keys[list(rows)],
            points=SelectedRows(array=self.points, rows=np.array(rows, dtype=np.int64)),
            requested=self.requested and [self.requested[row] for row in rows],
        )


class PointTargets(NamedTuple):
    """Points of a batch.

    An image is mirrored if its matrix has a negative determinant. Points are numbered as they are
    seen: in a mirrored image, the left eye is the right eye of the original.

    Attributes:
        points: (B, K, 2) float32 as x, y in input pixels, 0 where unknown.
        is_known: (B, K) bool.
        original: (B, K, 2) float32 in pixels of the original image, NaN where unknown.
        mirror: (K,) int64, the number that each point has in a mirrored image, or None if images
            are not mirrored.
    """

    points: Tensor
    is_known: Tensor
    original: Tensor
    mirror: Tensor | None
