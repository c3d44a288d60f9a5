"""The records that the parts of the task exchange."""

from typing import NamedTuple

from torch import Tensor


class PointTargets(NamedTuple):
    """Where the points of a batch are.

    A picture is mirrored where its matrix has a negative determinant; points are numbered as they
    are seen, so in a mirrored picture others than in the original.

    Attributes:
        points: (B, K, 2) float32 as x, y in input pixels, 0 where unknown.
        is_known: (B, K) bool.
        original: (B, K, 2) float32 in pixels of the original image, NaN where unknown.
        mirror: (K,) int64, the number of the point that each one becomes in a mirror, or None where
            pictures are not mirrored.
    """

    points: Tensor
    is_known: Tensor
    original: Tensor
    mirror: Tensor | None
