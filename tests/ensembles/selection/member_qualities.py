"""Qualities of mixtures of members, and a count of their calls."""

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BY_HAND = np.array([(0.7, 0.3, 0.6, 0.2), (0.4, 0.6, 0.7, 0.4), (0.6, 0.4, 0.3, 0.6)])


def mixture_nll(probabilities: Array) -> Callable[[Array], float]:
    """Return the NLL of a mixture as a function of its weights, from probabilities (K, N)."""
    return lambda weights: float(-np.log(weights @ probabilities).mean())


class Counted:
    """Counts the calls of a quality, and checks its weights."""

    def __init__(self, quality: Callable[[Array], float]) -> None:
        self.quality = quality
        self.seen: list[Array] = []

    def __call__(self, weights: Array) -> float:
        assert (weights >= 0).all()
        assert abs(weights.sum() - 1.0) < 1e-12
        self.seen.append(weights)
        return self.quality(weights)
