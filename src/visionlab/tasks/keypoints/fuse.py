"""Fusions of several members' points, (B, K, 2) each in original pixels, into one, (B, K, 2).

The weights of members count relative to each other; a member of weight 0 is left out. Equal members
fuse to each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.core.fusing import weighted_mean, weighted_members

_ROUNDING = 1e-6  # of the sum of all weights


@dataclass(frozen=True, kw_only=True)
class MeanPoints:
    """Weighted mean of the members' points."""

    def __call__(self, members: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Return points.

        Raises:
            ValueError: the members differ in shape, or the weights are refused.
        """
        kept, relative = weighted_members(members, weights)
        return weighted_mean(kept, relative).to(members[0].dtype)


@dataclass(frozen=True, kw_only=True)
class MedianPoints:
    """Weighted median of the members' points, x and y each.

    Half of the weight lies on either side of it. If that is true of a whole interval, the median is
    its centre, so that with equal weights it is the usual one.
    """

    def __call__(self, members: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Return points.

        Raises:
            ValueError: the members differ in shape, or the weights are refused.
        """
        kept, relative = weighted_members(members, weights)
        values, order = torch.stack(kept).double().sort(dim=0)
        below = torch.tensor(relative, dtype=torch.float64, device=order.device)[order].cumsum(0)
        half, rounding = below[-1:] / 2, below[-1:] * _ROUNDING
        low = (below < half - rounding).sum(dim=0, keepdim=True)
        high = (below <= half + rounding).sum(dim=0, keepdim=True)
        median = (values.gather(0, low) + values.gather(0, high)) / 2
        return median[0].to(members[0].dtype)


@dataclass(frozen=True, kw_only=True)
class InverseSpreadMean:
    """Mean in which members that lie far from the others count less, for each point of each image.

    The weight of member i is w_i / v_i, where w_i is the weight that it is given and v_i is its
    mean squared distance to the others, sum_j w_j |p_i - p_j|^2 / sum_j w_j over all j but i.
    """

    def __call__(self, members: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Return points.

        Raises:
            ValueError: the members differ in shape, or the weights are refused.
        """
        kept, relative = weighted_members(members, weights)
        points = torch.stack(kept).double()
        given = torch.tensor(relative, dtype=torch.float64, device=points.device).view(-1, 1, 1, 1)
        squares = [(given * (points - point).square()).sum(dim=(0, 3)) for point in points]
        others = given.sum() - given
        # a single member has no others; a spread of 0 means that all members agree
        spread = torch.stack(squares)[..., None] / torch.where(others > 0, others, 1.0)
        shares = given / torch.where(spread > 0, spread, 1.0)
        return ((shares * points).sum(dim=0) / shares.sum(dim=0)).to(members[0].dtype)
