"""Names and types of every setting, for OmegaConf to check when a command line is composed.

A setting's value stands in `conf/`, its range is checked by what uses it, and its meaning is in that
class's docstring. Each class here has the fields of the class that its files name as `_target_`; a test
compares the two. Nothing here imports torch, so that a wrong command line is answered at once.
"""

from dataclasses import dataclass
from typing import Any

MISSING: Any = "???"  # what OmegaConf takes for "the YAML file gives the value"


@dataclass
class Target:
    """Settings of something that is built by its dotted path."""

    _target_: str = MISSING


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
class Averages(Target):
    """Weight averages; `decay` is one number or a list, so it is checked where it is used."""

    decay: Any = MISSING
    uniform: bool = MISSING
    start_step: int = MISSING
    interval_steps: int = MISSING
    warmup_power: float | None = MISSING
    buffers: str = MISSING


@dataclass
class Hparams(Target):
    """Length and batch size."""

    epochs: int = MISSING
    batch_size: int = MISSING
    accumulate_steps: int = MISSING
    grad_clip_max_norm: float | None = MISSING


@dataclass
class Stop(Target):
    """When to end early."""

    patience_epochs: int | None = MISSING
    max_steps: int | None = MISSING
    max_minutes: float | None = MISSING


@dataclass
class Evaluation(Target):
    """What is evaluated, and how often."""

    every_epochs: int = MISSING
    batch_size: int = MISSING
    train: str = MISSING


@dataclass
class Checkpoint:
    """When `last.pt` is written within an epoch."""

    every_minutes: float | None = MISSING


@dataclass
class Task:
    """The parts of a task that are not groups of their own.

    Attributes:
        name: as in `conf/task/`.
        curves: what is drawn of training batches beside the losses.
        predict: what turns outputs into predictions.
        metric: what compares them with targets.
        monitor: the number that decides which weights are best.
        mode: max or min.
    """

    name: str = MISSING
    curves: Any = MISSING
    predict: Any = MISSING
    metric: Any = MISSING
    monitor: str = MISSING
    mode: str = MISSING


@dataclass
class Train:
    """A training run.

    Attributes:
        resume: a run folder to go on with, or null.
        global_seed: of everything random; null draws one and writes it down.
        device: auto, cpu, cuda or cuda:N.
        precision: fp32, or bf16 for forward passes in bfloat16.
        compile: compile the model with torch.compile.
        channels_last: keep images and weights in channels-last memory order.
        threads: of torch on the CPU; null leaves torch's own number.
        tensorboard: write event files.
        save_predictions: write what each validation sample got, per epoch and model.
    """

    task: Task = MISSING
    dataset: Any = MISSING
    augment: Any = MISSING
    model: Any = MISSING
    loss: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    averaged: Any = MISSING
    hparams: Hparams = MISSING
    stop: Stop = MISSING
    evaluation: Evaluation = MISSING
    checkpoint: Checkpoint = MISSING
    resume: str | None = MISSING
    global_seed: int | None = MISSING
    device: str = MISSING
    precision: str = MISSING
    compile: bool = MISSING
    channels_last: bool = MISSING
    threads: int | None = MISSING
    tensorboard: bool = MISSING
    save_predictions: bool = MISSING


@dataclass
class EvalDataset:
    """Where the data is now, if not where the run found it."""

    root: str | None = MISSING


@dataclass
class Eval:
    """An evaluation of what a run left.

    Attributes:
        run: a run folder, all of whose models are evaluated, or null.
        checkpoint: one model's file, or null.
        split: train_plain, train (augmented), val or test.
        batch_size: samples of one forward pass.
        device: auto, cpu, cuda or cuda:N.
        precision: fp32 or bf16.
        threads: of torch on the CPU; null leaves torch's own number.
    """

    run: str | None = MISSING
    checkpoint: str | None = MISSING
    split: str = MISSING
    dataset: EvalDataset = MISSING
    batch_size: int = MISSING
    device: str = MISSING
    precision: str = MISSING
    threads: int | None = MISSING


SCHEMAS: dict[str, dict[str, type]] = {
    "schema": {"train": Train, "eval": Eval},
    "schema/task": {"task": Task},
    "schema/dataset": {"digits": Digits, "cifar": Cifar, "image_folder": ImageFolder},
    "schema/augment": {"augment": Augment},
    "schema/model": {"resnet": ResNet, "timm": TimmModel},
    "schema/loss": {"cross_entropy": CrossEntropy},
    "schema/optimizer": {"sgd": Sgd, "adam": Adam},
    "schema/scheduler": {
        "warmup": Warmup,
        "multistep": MultiStep,
        "step": Step,
        "cosine_restarts": CosineRestarts,
    },
    "schema/averaged": {"averages": Averages},
    "schema/hparams": {"hparams": Hparams},
}
