"""Keypoint regression: points in an image."""

from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.comparison import compare_points
from visionlab.tasks.keypoints.datasets.drawn_faces import DrawnFaces
from visionlab.tasks.keypoints.datasets.landmarks_csv import LandmarksCsv
from visionlab.tasks.keypoints.datasets.name_holdout import NameHoldout
from visionlab.tasks.keypoints.datasets.points_csv import PointsCsv
from visionlab.tasks.keypoints.fuse import InverseSpreadMean, MeanPoints, MedianPoints
from visionlab.tasks.keypoints.loss import Enme, Mse, SmoothL1, Wing, error_px
from visionlab.tasks.keypoints.metric import PointErrors, original_points
from visionlab.tasks.keypoints.model import KeypointRegressor
from visionlab.tasks.keypoints.pictures import draw_points
from visionlab.tasks.keypoints.submission import PointsSubmission

__all__ = [
    "DrawnFaces",
    "Enme",
    "InverseSpreadMean",
    "KeypointRegressor",
    "LandmarksCsv",
    "MeanPoints",
    "MedianPoints",
    "Mse",
    "NameHoldout",
    "PointAugment",
    "PointErrors",
    "PointsCsv",
    "PointsSubmission",
    "SmoothL1",
    "Wing",
    "compare_points",
    "draw_points",
    "error_px",
    "original_points",
]
