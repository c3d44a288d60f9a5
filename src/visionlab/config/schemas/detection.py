"""Names and types of the settings of detection, as in `visionlab.config.schemas.parts`."""

from dataclasses import dataclass

from visionlab.config.schemas.parts import MISSING, Model, Normalised, Target


@dataclass
class Resize(Target):
    """How large a model sees the images."""

    short_px: int = MISSING
    long_px: int = MISSING


@dataclass
class Annotated(Normalised):
    """What all sets of annotated images share."""

    root: str = MISSING
    drop_invalid: bool = MISSING
    resize: Resize = MISSING
    num_workers: int = MISSING


@dataclass
class Coco(Annotated):
    """JSON files in COCO's form."""

    annotations: dict[str, str | None] = MISSING
    images: dict[str, str | None] = MISSING


@dataclass
class Voc(Annotated):
    """XML files in Pascal VOC's form."""

    splits: dict[str, str | None] = MISSING
    difficult: str = MISSING
    one_based: bool = MISSING


@dataclass
class NumberedYaml(Annotated):
    """Numbered images and YAML files."""

    splits: dict[str, str | None] = MISSING
    class_names: list[str] = MISSING


@dataclass
class BoxesCsv(Annotated):
    """Boxes in CSV files."""

    annotations: dict[str, str | None] = MISSING
    classes: str = MISSING


@dataclass
class DigitScenes(Target):
    """Digits on cluttered pictures."""

    mean: list[float] = MISSING
    std: list[float] = MISSING
    num_train: int = MISSING
    num_val: int = MISSING
    num_test: int = MISSING
    seed: int = MISSING
    resize: Resize = MISSING


@dataclass
class BoxAugment(Target):
    """Flips, rotation, scale jitter and crop."""

    flip_prob: float = MISSING
    vertical_flip_prob: float = MISSING
    scale: list[float] = MISSING
    rotation_degrees: float = MISSING
    min_visible: float = MISSING


@dataclass
class Backbone(Target):
    """A backbone of timm."""

    name: str = MISSING
    pretrained: bool = MISSING
    init_from: str | None = MISSING
    norm: str = MISSING


@dataclass
class Pyramid(Target):
    """A feature pyramid."""

    channels: int = MISSING
    p6_from: str = MISSING


@dataclass
class Head(Target):
    """The heads of a one-stage detector."""

    channels: int = MISSING
    depth: int = MISSING
    norm: str = MISSING


@dataclass
class Anchors(Target):
    """Anchors of five levels."""

    sizes_px: list[float] = MISSING
    ratios: list[float] = MISSING
    scales: list[float] = MISSING


@dataclass
class RetinaNet(Model):
    """A RetinaNet."""

    backbone: Backbone = MISSING
    pyramid: Pyramid = MISSING
    head: Head = MISSING
    anchors: Anchors = MISSING
    prior: float = MISSING
    box_std: list[float] = MISSING


@dataclass
class RetinaNetLoss(Target):
    """The losses of a RetinaNet, and which anchors are positive."""

    alpha: float = MISSING
    gamma: float = MISSING
    positive_iou: float = MISSING
    negative_iou: float = MISSING
    force_best_anchor: bool = MISSING
    box: str = MISSING
    beta: float = MISSING
    box_weight: float = MISSING
