"""Arithmetic that all fusions of several members' predictions share."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def relative_weights(weights: Sequence[float], *, num_members: int) -> list[float]:
    """Return the weights of members relative to the largest.

    They are rounded to float32, so that weights and multiples of them give the same.

    Raises:
        ValueError: there is no member; or the weights are not one number >= 0 for each member,
            with a finite sum above 0.
    """
    if not num_members:
        raise ValueError("members must be at least one, got none")
    is_valid = all(weight >= 0 for weight in weights) and 0 < sum(weights) < math.inf
    if len(weights) != num_members or not is_valid:
        raise ValueError(
            f"weights must be {num_members} finite numbers >= 0, one a member and not all 0, "
            f"got {list(weights)}"
        )
    largest = max(weights)
    relative: list[float] = np.array(
        [weight / largest for weight in weights], dtype=np.float32
    ).tolist()
    return relative


def weighted_members(
    members: Sequence[Tensor], weights: Sequence[float]
) -> tuple[list[Tensor], list[float]]:
    """Return the members with a weight above 0, and their relative weights.

    Raises:
        ValueError: the members differ in shape, or `relative_weights` refuses the weights.
    """
    relative = relative_weights(weights, num_members=len(members))
    shapes = [tuple(member.shape) for member in members]
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(
                f"members must have predictions of one shape, {shapes[0]} as member 0, "
                f"got {shape} for member {number}"
            )
    pairs = [pair for pair in zip(members, relative, strict=True) if pair[1]]
    return [member for member, _ in pairs], [weight for _, weight in pairs]


def weighted_mean(members: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the mean of tensors of one shape, in float64."""
    total = torch.zeros_like(members[0], dtype=torch.float64)
    for member, weight in zip(members, weights, strict=True):
        total.add_(member.double(), alpha=weight)
    return total.div_(math.fsum(weights))
