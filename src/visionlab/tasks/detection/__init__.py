"""Object detection: boxes with classes and scores.

Older runs name parts for oriented boxes that are now those for upright ones: `OrientedDetect`,
`OrientedRetinaNet` and `OrientedRetinaNetLoss`.
"""

from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.comparison import DetectionComparison
from visionlab.tasks.detection.crops import Crops
from visionlab.tasks.detection.datasets.boxes_csv import BoxesCsv
from visionlab.tasks.detection.datasets.coco import Coco
from visionlab.tasks.detection.datasets.deepscores import DeepScores
from visionlab.tasks.detection.datasets.digit_scenes import DigitScenes
from visionlab.tasks.detection.datasets.dota import Dota
from visionlab.tasks.detection.datasets.numbered_yaml import NumberedYaml
from visionlab.tasks.detection.datasets.rotated_digit_scenes import RotatedDigitScenes
from visionlab.tasks.detection.datasets.voc import Voc
from visionlab.tasks.detection.datasets.yolo import Yolo
from visionlab.tasks.detection.fuse.nms import NonMaximumSuppression, NonMaximumWeighted
from visionlab.tasks.detection.fuse.soft_nms import GaussianSoftNms, LinearSoftNms
from visionlab.tasks.detection.fuse.wbf import WeightedBoxFusion
from visionlab.tasks.detection.loss.fasterrcnn import FasterRcnnLoss
from visionlab.tasks.detection.loss.retinanet import RetinaNetLoss, boxes_per_image
from visionlab.tasks.detection.loss.retinanet import RetinaNetLoss as OrientedRetinaNetLoss
from visionlab.tasks.detection.metric import AveragePrecision
from visionlab.tasks.detection.model.anchors import Anchors
from visionlab.tasks.detection.model.decode import Detect, DetectRegions
from visionlab.tasks.detection.model.decode import Detect as OrientedDetect
from visionlab.tasks.detection.model.fasterrcnn import FasterRcnn, RegionPyramid
from visionlab.tasks.detection.model.proposals import RegionProposals
from visionlab.tasks.detection.model.regions import RegionHead
from visionlab.tasks.detection.model.retinanet import Head, Pyramid, RetinaNet
from visionlab.tasks.detection.model.retinanet import RetinaNet as OrientedRetinaNet
from visionlab.tasks.detection.model.sampling import Sampling
from visionlab.tasks.detection.oriented.fuse import OrientedBoxFusion
from visionlab.tasks.detection.oriented.metric import OrientedAveragePrecision
from visionlab.tasks.detection.pictures import draw_detections
from visionlab.tasks.detection.submission import write_results

__all__ = [
    "Anchors",
    "AveragePrecision",
    "BoxAugment",
    "BoxesCsv",
    "Coco",
    "Crops",
    "DeepScores",
    "Detect",
    "DetectRegions",
    "DetectionComparison",
    "DigitScenes",
    "Dota",
    "FasterRcnn",
    "FasterRcnnLoss",
    "GaussianSoftNms",
    "Head",
    "LinearSoftNms",
    "NonMaximumSuppression",
    "NonMaximumWeighted",
    "NumberedYaml",
    "OrientedAveragePrecision",
    "OrientedBoxFusion",
    "OrientedDetect",
    "OrientedRetinaNet",
    "OrientedRetinaNetLoss",
    "Pyramid",
    "RegionHead",
    "RegionProposals",
    "RegionPyramid",
    "RetinaNet",
    "RetinaNetLoss",
    "RotatedDigitScenes",
    "Sampling",
    "Voc",
    "WeightedBoxFusion",
    "Yolo",
    "boxes_per_image",
    "draw_detections",
    "write_results",
]
