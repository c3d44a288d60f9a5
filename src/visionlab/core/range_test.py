"""Learning-rate range test: smooth its loss curve and suggest a rate. Imports no torch.

The idea is L. Smith's range test (arXiv 1506.01186, section 3.3): sweep the rate over a whole range
in one run and read a rate off the curve. Smith reads two bounds off the accuracy by eye. This
module suggests the rate where the smoothed loss falls fastest, as practitioners do: a starting
point, not a measured optimum.
"""

import math
from collections.abc import Sequence

import numpy as np

_WINDOW_FRACTION = 20  # 1 / 20 of all steps
_MIN_MARGIN = 5


def smooth(losses: Sequence[float]) -> list[float]:
    """Smooth losses with a centred triangular window, a twentieth of all steps to each side.

    Unlike a mean of past values it does not lag, which would shift every suggested rate.
    """
    reach = len(losses) // _WINDOW_FRACTION
    weights = reach + 1.0 - np.abs(np.arange(-reach, reach + 1))
    sums = np.convolve(losses, weights, mode="same")
    means: list[float] = (sums / np.convolve(np.ones(len(losses)), weights, mode="same")).tolist()
    return means


def suggest_lr(lrs: Sequence[float], means: Sequence[float]) -> float | None:
    """Return the rate where the smoothed loss falls fastest per log of the rate.

    Only steps up to the lowest smoothed loss count: a later fall is recovery from damage that a
    bad rate did. The first and last twentieth, where the window is one-sided, are left out. Rates
    are those of each step, strictly rising or falling. Returns None if the loss falls nowhere.
    """
    margin = max(_MIN_MARGIN, len(means) // _WINDOW_FRACTION)
    lowest = min(range(len(means)), key=means.__getitem__)
    steps = range(margin, min(lowest + 1, len(means) - margin))
    slopes = {
        step: (means[step + 1] - means[step - 1]) / abs(math.log(lrs[step + 1] / lrs[step - 1]))
        for step in steps
    }
    steepest = min(slopes, key=slopes.__getitem__, default=None)
    return lrs[steepest] if steepest is not None and slopes[steepest] < 0 else None
