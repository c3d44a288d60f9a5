"""Names and types of the settings of the scripts, and the list of all schemas."""

from dataclasses import dataclass, fields
from typing import Any

from visionlab.config.schemas import detection, keypoints, parts
from visionlab.config.schemas.parts import MISSING, DatasetOfRuns, Target
from visionlab.config.schemas.plots import Plots, Table


@dataclass
class Hparams(Target):
    """Length and batch size, which samples count, and what is frozen."""

    epochs: int = MISSING
    batch_size: int = MISSING
    accumulate_steps: int = MISSING
    grad_clip_max_norm: float | None = MISSING
    hard_examples: list[float] | None = MISSING
    freeze_backbone_epochs: int = MISSING


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
        draw: what draws pictures of samples.
        export: what writes them in the field's own format, or null.
        monitor: the number that decides which weights are best.
        mode: max or min.
    """

    name: str = MISSING
    curves: Any = MISSING
    predict: Any = MISSING
    metric: Any = MISSING
    draw: Any = MISSING
    export: Any = MISSING
    monitor: str = MISSING
    mode: str = MISSING


@dataclass
class Sweep:
    """How `--multirun` goes about its jobs.

    Attributes:
        share: let jobs that differ only in what never influences training share one.
        fail_fast: begin no more jobs once one has failed.
        training: a file that says which jobs to train; for what a multirun launches.
    """

    share: bool = MISSING
    fail_fast: bool = MISSING
    training: str | None = MISSING


@dataclass
class Train:
    """A training run.

    Attributes:
        resume: a run folder to go on with, or null.
        global_seed: of everything random; null draws one and writes it down.
        device: auto, cpu, cuda or cuda:N.
        precision: fp32, or bf16 for forward passes in bfloat16.
        compile: compile the model with torch.compile.
        sync_batch_norm: let batch norms in training see the whole batch, of all processes; without
            effect on a single one.
        channels_last: keep weights, and with them activations, in channels-last memory order.
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
    sweep: Sweep = MISSING
    resume: str | None = MISSING
    global_seed: int | None = MISSING
    device: str = MISSING
    precision: str = MISSING
    compile: bool = MISSING
    sync_batch_norm: bool = MISSING
    channels_last: bool = MISSING
    threads: int | None = MISSING
    tensorboard: bool = MISSING
    save_predictions: bool = MISSING


@dataclass
class Tune(Train):
    """A study: many training runs, one for each point of a space.

    Attributes:
        n_trials: how many are to be complete or pruned, over all starts and processes.
        study: the storage URL of the study; null is `study.db` in the sweep's folder.
        study_name: of the study in its storage.
        objective: raw or averaged: whose best monitored number on validation is tuned.
        max_failures: so many trials of one start may fail; one more ends it.
        pruner: of Optuna.
        trial: the number of the trial that a job is; set by the sweeper.
    """

    n_trials: int = MISSING
    study: str | None = MISSING
    study_name: str = MISSING
    objective: str = MISSING
    max_failures: int = MISSING
    pruner: Any = MISSING
    trial: int | None = MISSING


OF_TUNE = {field.name for field in fields(Tune)} - {field.name for field in fields(Train)}


@dataclass
class View:
    """One of several views of an image."""

    rotation_degrees: float = MISSING
    scale: float = MISSING
    shift: list[float] = MISSING
    mirror: bool = MISSING
    brightness: float = MISSING
    contrast: float = MISSING
    grey: bool = MISSING
    blur_px: int = MISSING
    weight: float = MISSING


@dataclass
class Eval:
    """An evaluation of what a run left.

    Attributes:
        run: a run folder, all of whose models are evaluated, or null.
        checkpoint: one model's file, or null.
        split: train_plain, train (augmented), val or test.
        submission: only write predictions in the field's own format: no numbers.
        views: how each image is seen, by name, of which predictions the weighted mean is taken; or
            null for the image as it is.
        batch_size: samples of one forward pass; null takes the run's own.
        device: auto, cpu, cuda or cuda:N.
        precision: fp32 or bf16; null takes the run's own.
        threads: of torch on the CPU; null takes the run's own.
    """

    run: str | None = MISSING
    checkpoint: str | None = MISSING
    split: str = MISSING
    submission: bool = MISSING
    views: dict[str, View] | None = MISSING
    dataset: DatasetOfRuns = MISSING
    batch_size: int | None = MISSING
    device: str = MISSING
    precision: str | None = MISSING
    threads: int | None = MISSING


SCHEMAS: dict[str, dict[str, type]] = {
    "schema": {"train": Train, "eval": Eval, "tune": Tune, "plots": Plots},
    "schema/task": {"task": Task},
    "schema/dataset": {
        "digits": parts.Digits,
        "cifar": parts.Cifar,
        "image_folder": parts.ImageFolder,
        "coco": detection.Coco,
        "voc": detection.Voc,
        "numbered_yaml": detection.NumberedYaml,
        "boxes_csv": detection.BoxesCsv,
        "digit_scenes": detection.DigitScenes,
        "landmarks_csv": keypoints.LandmarksCsv,
        "points_csv": keypoints.PointsCsv,
        "drawn_faces": keypoints.DrawnFaces,
    },
    "schema/augment": {
        "augment": parts.Augment,
        "box_augment": detection.BoxAugment,
        "point_augment": keypoints.PointAugment,
    },
    "schema/model": {
        "resnet": parts.ResNet,
        "timm": parts.TimmModel,
        "retinanet": detection.RetinaNet,
        "keypoints": keypoints.KeypointRegressor,
    },
    "schema/loss": {
        "cross_entropy": parts.CrossEntropy,
        "retinanet": detection.RetinaNetLoss,
        "mse": Target,
        "smooth_l1": keypoints.SmoothL1,
        "wing": keypoints.Wing,
        "enme": keypoints.Enme,
    },
    "schema/optimizer": {"sgd": parts.Sgd, "adam": parts.Adam},
    "schema/scheduler": {
        "warmup": parts.Warmup,
        "multistep": parts.MultiStep,
        "step": parts.Step,
        "cosine_restarts": parts.CosineRestarts,
        "plateau": parts.Plateau,
        "range_test": parts.RangeTest,
    },
    "schema/averaged": {"averages": parts.Averages},
    "schema/hparams": {"hparams": Hparams},
    "schema/table": {"table": Table},
}
