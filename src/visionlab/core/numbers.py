"""Numbers as people and other programs read them."""

from typing import Any

from torch import Tensor


def shortest(values: Tensor) -> list[Any]:
    """Return float32 numbers as nested lists of the shortest decimals that are these numbers.

    `Tensor.tolist` has them in double precision: 0.1 as 0.10000000149011612.
    """
    return values.detach().cpu().float().numpy().astype(str).astype(float).tolist()  # type: ignore[no-any-return]
