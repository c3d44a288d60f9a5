"""Names and types of the settings of keypoints, as in `visionlab.config.schemas.parts`."""

from dataclasses import dataclass

from visionlab.config.schemas.detection import Backbone
from visionlab.config.schemas.parts import MISSING, Model, Target


@dataclass
class NameHoldout(Target):
    """The training images that validate, by fraction, by group, or by list."""

    split: float = MISSING
    seed: int = MISSING
    pattern: str | None = MISSING
    list: str | None = MISSING


@dataclass
class Pointed(Target):
    """What all sets of images with points share."""

    size_px: int = MISSING
    mirror: list[int] | None = MISSING
    eyes: list[list[int]] | None = MISSING
    mean: list[float] = MISSING
    std: list[float] = MISSING


@dataclass
class Listed(Pointed):
    """What sets of image files share."""

    root: str = MISSING
    val: NameHoldout = MISSING
    num_workers: int = MISSING
    in_memory: bool = MISSING
    skip_unreadable: bool = MISSING


@dataclass
class LandmarksCsv(Listed):
    """The contest's files."""

    test: bool = MISSING


@dataclass
class PointsCsv(Listed):
    """Comma-separated tables."""

    tables: dict[str, str | None] = MISSING
    images: dict[str, str | None] = MISSING


@dataclass
class DrawnFaces(Pointed):
    """Drawn faces."""

    num_train: int = MISSING
    num_val: int = MISSING
    num_test: int = MISSING
    seed: int = MISSING


@dataclass
class PointAugment(Target):
    """Moves, mirroring, bars, colour and blur."""

    choose: str = MISSING
    affine_prob: float = MISSING
    rotation_degrees: float = MISSING
    scale: list[float] = MISSING
    stretch: list[float] = MISSING
    shift: float = MISSING
    crop_prob: float = MISSING
    crop_min_scale: float = MISSING
    mirror_prob: float = MISSING
    bars_prob: float = MISSING
    bars_max: float = MISSING
    colour_prob: float = MISSING
    brightness: float = MISSING
    contrast: float = MISSING
    grey_prob: float = MISSING
    blur_prob: float = MISSING
    blur_px: list[int] = MISSING


@dataclass
class KeypointRegressor(Model):
    """A backbone and a linear layer."""

    backbone: Backbone = MISSING
    stride: int = MISSING
    grid: int = MISSING
    dropout: float = MISSING


@dataclass
class SmoothL1(Target):
    """Smooth L1."""

    beta: float = MISSING


@dataclass
class Wing(Target):
    """The wing loss."""

    width: float = MISSING
    curvature: float = MISSING


@dataclass
class Enme(Target):
    """The contest entry's loss."""

    alpha: float = MISSING
