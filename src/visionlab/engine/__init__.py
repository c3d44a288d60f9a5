"""The training loop and its parts; knows tasks only through the contract in `task.py`."""

from visionlab.engine.epoch_files import Checkpointing
from visionlab.engine.hparams import Evaluation, Hparams, Stop
from visionlab.engine.start import Start

__all__ = ["Checkpointing", "Evaluation", "Hparams", "Start", "Stop"]
