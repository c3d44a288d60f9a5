"""Names and types of the settings of parts, for OmegaConf to check what is composed.

A setting's value stands in `conf/`, its range is checked by what uses it, and its meaning is in
that class's docstring. Each class here has the fields of the class that its files name as
`_target_`; a test compares the two. Nothing here imports torch, so that a wrong command line is
answered at once.
"""

from dataclasses import dataclass
from typing import Any

MISSING: Any = "???"  # what OmegaConf takes for "the YAML file gives the value"


@dataclass
class Target:
    """Settings of something that is built by its dotted path."""

    _target_: str = MISSING


@dataclass
class DatasetOfRuns:
    """Where the data of runs is now, if not where they found it."""

    root: str | None = MISSING


@dataclass
class Holdout(Target):
    """A share of the training samples."""

    split: float = MISSING
    seed: int = MISSING


@dataclass
class Normalised(Target):
    """What all image sets share."""

    mean: list[float] = MISSING
    std: list[float] = MISSING
    val: Holdout = MISSING


@dataclass
class Digits(Normalised):
    """The embedded digits."""


@dataclass
class Cifar(Normalised):
    """CIFAR-10 and CIFAR-100."""

    num_classes: int = MISSING
    root: str = MISSING
    download: bool = MISSING
    verify: bool = MISSING


@dataclass
class ImageFolder(Normalised):
    """Folders of images."""

    root: str = MISSING
    size_px: int = MISSING
    num_workers: int = MISSING
    skip_unreadable: bool = MISSING
    test: Holdout = MISSING


@dataclass
class Augment(Target):
    """Pad and crop, flip, cutout."""

    pad_px: int = MISSING
    flip_prob: float = MISSING
    cutout_px: int = MISSING


@dataclass
class Model(Target):
    """What every model can be given.

    Attributes:
        checkpoint: a file with the weights of just this model, or null.
        init_from: a file of which what fits is taken, or null.
        freeze: patterns of the names of parameters that are not trained.
    """

    checkpoint: str | None = MISSING
    init_from: str | None = MISSING
    freeze: list[str] = MISSING


@dataclass
class ResNet(Model):
    """A ResNet by depth."""

    depth: int = MISSING


@dataclass
class TimmModel(Model):
    """A model of timm by name."""

    name: str = MISSING
    pretrained: bool = MISSING


@dataclass
class CrossEntropy(Target):
    """The loss of classification."""

    label_smoothing: float = MISSING
    class_weights: list[float] | None = MISSING


@dataclass
class Optimizer(Target):
    """What every optimizer can be given."""

    lr: float = MISSING
    weight_decay: float = MISSING
    decay_norms_and_biases: bool = MISSING
    layer_decay: float | None = MISSING


@dataclass
class Sgd(Optimizer):
    """Momentum and Nesterov."""

    momentum: float = MISSING
    nesterov: bool = MISSING


@dataclass
class Adam(Optimizer):
    """Adam and AdamW."""

    decoupled_weight_decay: bool = MISSING
    betas: list[float] = MISSING
    eps: float = MISSING
    amsgrad: bool = MISSING


@dataclass
class Warmup(Target):
    """What every schedule can be given; constant, linear and cosine take nothing else."""

    warmup_steps: int = MISSING
    warmup_epochs: int = MISSING


@dataclass
class MultiStep(Warmup):
    """A factor at each milestone."""

    milestone_epochs: list[int] = MISSING
    milestone_steps: list[int] = MISSING
    gamma: float = MISSING


@dataclass
class Step(Warmup):
    """A factor at equal distances."""

    every_epochs: int = MISSING
    every_steps: int = MISSING
    gamma: float = MISSING


@dataclass
class CosineRestarts(Warmup):
    """Cycles of half a cosine."""

    cycle_epochs: list[int] = MISSING
    cycle_steps: list[int] = MISSING
    restart_weights: list[float] = MISSING
    min_ratio: float = MISSING


@dataclass
class Plateau(Warmup):
    """A factor whenever a number of the run is no better."""

    monitor: str = MISSING
    mode: str = MISSING
    every: str = MISSING
    gamma: float = MISSING
    patience_epochs: float = MISSING
    patience_steps: int = MISSING
    threshold: float = MISSING
    smoothing: float = MISSING
    min_ratio: float = MISSING


@dataclass
class RangeTest(Target):
    """From one rate to another."""

    start_lr: float = MISSING
    end_lr: float = MISSING
    base_lr: float = MISSING


@dataclass
class Averages(Target):
    """Weight averages; `decay` is one number or a list, so it is checked where it is used."""

    decay: Any = MISSING
    uniform: bool = MISSING
    start_step: int = MISSING
    interval_steps: int = MISSING
    warmup_power: float | None = MISSING
    buffers: str = MISSING
