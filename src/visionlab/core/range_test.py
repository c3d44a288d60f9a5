"""Rate and loss of each step while the rate moves over a range, and the rate that they suggest.

From L. Smith's range test (arXiv 1506.01186, section 3.3) comes the idea: one run in which the rate
moves over the whole range, and a rate read off its curve. Smith reads two bounds off the accuracy
by eye. Here the rate where the smoothed loss falls fastest is suggested, as practitioners do: a
place to start from, not a measured best. Imports no torch.
"""

import math
from collections.abc import Sequence

import numpy as np

_PARTS = 20
_MIN_MARGIN = 5


def smoothed(losses: Sequence[float]) -> list[float]:
    """Return the mean around each step, with weights that fall to 0 over a twentieth of all steps.

    Unlike a mean of the past it does not lag: that would shift every suggestion along the way.
    """
    reach = len(losses) // _PARTS
    weights = reach + 1.0 - np.abs(np.arange(-reach, reach + 1))
    sums = np.convolve(losses, weights, mode="same")
    means: list[float] = (sums / np.convolve(np.ones(len(losses)), weights, mode="same")).tolist()
    return means


def suggestion(lrs: Sequence[float], means: Sequence[float]) -> float | None:
    """Return the rate where the smoothed loss falls fastest per logarithm of the rate, on the way.

    Looked at are the steps up to the lowest smoothed loss (a later fall is a recovery from losses
    that the rate itself made), without the first and the last twentieth, where the mean lacks a
    side. None if it falls nowhere there.

    Args:
        lrs: of the steps; they rise or fall throughout.
        means: the smoothed loss of each step.
    """
    margin = max(_MIN_MARGIN, len(means) // _PARTS)
    lowest = min(range(len(means)), key=means.__getitem__)
    steps = range(margin, min(lowest + 1, len(means) - margin))
    slopes = {
        step: (means[step + 1] - means[step - 1]) / abs(math.log(lrs[step + 1] / lrs[step - 1]))
        for step in steps
    }
    steepest = min(slopes, key=slopes.__getitem__, default=None)
    return lrs[steepest] if steepest is not None and slopes[steepest] < 0 else None
