"""Pretraining without labels: momentum contrast."""

from visionlab.tasks.pretraining.augment import ViewAugment
from visionlab.tasks.pretraining.collapse import CollapseWarning
from visionlab.tasks.pretraining.datasets.cifar import Cifar
from visionlab.tasks.pretraining.datasets.images import Images
from visionlab.tasks.pretraining.datasets.placed_digits import PlacedDigits
from visionlab.tasks.pretraining.grad_cam import GradCamBoxes
from visionlab.tasks.pretraining.loss import InfoNce, contrast_scalars
from visionlab.tasks.pretraining.metric import NearestNeighbours, unit_features
from visionlab.tasks.pretraining.model.encoder import LinearHead, MlpHead
from visionlab.tasks.pretraining.model.moco import Moco
from visionlab.tasks.pretraining.pictures import draw_neighbours

__all__ = [
    "Cifar",
    "CollapseWarning",
    "GradCamBoxes",
    "Images",
    "InfoNce",
    "LinearHead",
    "MlpHead",
    "Moco",
    "NearestNeighbours",
    "PlacedDigits",
    "ViewAugment",
    "contrast_scalars",
    "draw_neighbours",
    "unit_features",
]
