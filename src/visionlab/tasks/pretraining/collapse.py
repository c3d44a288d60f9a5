"""Warning when all embeddings become alike."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

_log = logging.getLogger(__name__)


class CollapseWarning:
    """Observer that warns after an epoch whose `train/spread` is small.

    Args:
        folder: of the run.
        min_spread: below it the embeddings count as collapsed; healthy ones have about 1.
    """

    def __init__(self, *, folder: Path, min_spread: Annotated[float, "[0, 1]"]) -> None:
        self._min_spread = min_spread

    def on_step(self, state: Any, *, lr: float, loss: Any, num_samples: int) -> None:
        """Do nothing."""

    def on_epoch(self, row: Mapping[str, float], results: Mapping[str, Any]) -> None:
        """Warn if the embeddings have collapsed."""
        spread = row.get("train/spread", 1.0)
        if spread < self._min_spread:
            _log.warning(
                "the embeddings have collapsed: train/spread %.3f, where 1 is healthy and 0 is one "
                "point; a lower optimizer.lr or model.bn_splits > 1 may help",
                spread,
            )

    def close(self) -> None:
        """Do nothing."""
