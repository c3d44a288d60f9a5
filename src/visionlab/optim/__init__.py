"""Optimizers, learning-rate schedules and weight averages."""

from visionlab.optim.averaging import Averages
from visionlab.optim.optimizers import Adam, Sgd
from visionlab.optim.phases import CosineRestarts, Phase, Phases
from visionlab.optim.plateau import Plateau
from visionlab.optim.schedules import (
    Constant,
    Cosine,
    Linear,
    MultiStep,
    RangeTest,
    Step,
)

__all__ = [
    "Adam",
    "Averages",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Linear",
    "MultiStep",
    "Phase",
    "Phases",
    "Plateau",
    "RangeTest",
    "Sgd",
    "Step",
]
