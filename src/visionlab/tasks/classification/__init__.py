"""Classification: one label an image."""

from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.comparison import compare_labels
from visionlab.tasks.classification.datasets.cifar import Cifar
from visionlab.tasks.classification.datasets.digits import Digits
from visionlab.tasks.classification.datasets.image_folder import ImageFolder
from visionlab.tasks.classification.fuse import MeanLogit, MeanProbability, Vote
from visionlab.tasks.classification.loss import CrossEntropy
from visionlab.tasks.classification.metric import Accuracy, probabilities, top1
from visionlab.tasks.classification.model import ResNetCifar, ResNetSmallImages, TimmModel
from visionlab.tasks.classification.pictures import draw_worst

__all__ = [
    "Accuracy",
    "Augment",
    "Cifar",
    "CrossEntropy",
    "Digits",
    "ImageFolder",
    "MeanLogit",
    "MeanProbability",
    "ResNetCifar",
    "ResNetSmallImages",
    "TimmModel",
    "Vote",
    "compare_labels",
    "draw_worst",
    "probabilities",
    "top1",
]
