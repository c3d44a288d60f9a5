"""An observer that ends the process after the first step of a run, for `start.py`."""

import os
from pathlib import Path
from typing import Any


class Exit:
    def __init__(self, *, folder: Path) -> None:
        pass

    def on_step(self, state: Any, *, lr: float, loss: Any, num_samples: int) -> None:
        os._exit(0)

    def on_epoch(self, row: Any, results: Any) -> None:
        pass

    def close(self) -> None:
        pass
