"""Quality of an ensemble as a function of the weights of its members.

Selection and the search for weights take such a function, so that they serve every task.
"""

import math
from collections.abc import Callable

from visionlab.ensembles.inputs import Floats

Quality = Callable[[Floats], float]
"""From weights (K,), >= 0 and with a sum of 1, to a number on validation samples."""


def remembered(quality: Quality) -> Quality:
    """Return the quality with a memory: the same weights cost one call.

    The result raises a ValueError if the quality is nan.
    """
    values: dict[bytes, float] = {}

    def remember(weights: Floats) -> float:
        if (key := weights.tobytes()) not in values:
            values[key] = float(quality(weights.copy()))
            if math.isnan(values[key]):
                raise ValueError(f"quality must be a number, got nan for weights {weights}")
        return values[key]

    return remember
