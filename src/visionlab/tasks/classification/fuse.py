"""Fusions of several members' class probabilities, (B, C) each, into one, (B, C).

The weights of members count relative to each other; a member of weight 0 is left out. Means of
equal members are equal to each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from visionlab.core.fusing import weighted_mean, weighted_members

_SMALLEST = 1e-60  # probability 0 in logarithms; becomes 0 again in float32
_TIE_SHARE = 1e-3  # of all votes


@dataclass(frozen=True, kw_only=True)
class MeanProbability:
    """Weighted arithmetic mean of the members' probabilities."""

    def __call__(self, members: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Return probabilities.

        Raises:
            ValueError: the members differ in shape, or the weights are refused.
        """
        kept, relative = weighted_members(members, weights)
        return weighted_mean(kept, relative).to(members[0].dtype)


@dataclass(frozen=True, kw_only=True)
class MeanLogit:
    """Softmax of the weighted mean of the members' logits.

    The same as the geometric mean of the probabilities, normalised. The fused probabilities sum to
    the members' mean sum, which is 1 up to rounding.
    """

    def __call__(self, members: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Return probabilities.

        Raises:
            ValueError: the members differ in shape, or the weights are refused.
        """
        kept, relative = weighted_members(members, weights)
        logs = [member.double().clamp(min=_SMALLEST).log() for member in kept]
        sums = weighted_mean(
            [member.double().sum(dim=1, keepdim=True) for member in kept], relative
        )
        return (weighted_mean(logs, relative).softmax(dim=1) * sums).to(members[0].dtype)


@dataclass(frozen=True, kw_only=True)
class Vote:
    """Share of the votes that each class gets; a member votes for its most probable class.

    Classes with as many votes are ranked by the members' mean probability, which has a thousandth
    of all votes.
    """

    def __call__(self, members: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Return shares of votes, which sum to 1 in each row.

        Raises:
            ValueError: the members differ in shape, or the weights are refused.
        """
        kept, relative = weighted_members(members, weights)
        num_classes = members[0].shape[1]
        votes = [F.one_hot(member.argmax(dim=1), num_classes) for member in kept]
        shares = weighted_mean(votes, relative)
        return torch.lerp(shares, weighted_mean(kept, relative), _TIE_SHARE).to(members[0].dtype)
