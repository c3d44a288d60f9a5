"""The loop and what stands around it; sees the contract of `task.py`, never a part."""

from visionlab.engine.hparams import Evaluation, Hparams, Stop

__all__ = ["Evaluation", "Hparams", "Stop"]
