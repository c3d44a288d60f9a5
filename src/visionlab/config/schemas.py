"""Schemas of the scripts: names and types of settings that belong to no part.

A part's settings have their names, types and ranges in the class that its `_target_` names; see
`checking`. Values are in `conf/`.
"""

import re
from dataclasses import dataclass, field, fields
from typing import Any

from visionlab.config.run_schemas import MISSING, DatasetOfRuns, Diff, Prune, Repeat, Runs


@dataclass
class Task:
    """The parts of a task that are not groups of their own.

    Attributes:
        name: as in `conf/task/`.
        extra_scalars: scalars of training batches to draw beside the losses.
        predict: maps model outputs to predictions.
        fuse: makes one prediction of several, of views or of members of an ensemble, or null.
        metric: compares predictions with targets.
        draw: draws pictures of samples.
        export: writes predictions in the field's own format, or null.
        compare: writes tables that compare the members of an ensemble, or null.
        monitor: the metric that decides which weights are best.
        mode: max or min.
    """

    name: str = MISSING
    extra_scalars: Any = MISSING
    predict: Any = MISSING
    fuse: Any = MISSING
    metric: Any = MISSING
    draw: Any = MISSING
    export: Any = MISSING
    compare: Any = MISSING
    monitor: str = MISSING
    mode: str = MISSING


@dataclass
class StageOfChain:
    """A stage of a chain.

    Attributes:
        like: an earlier stage whose overrides come before its own, or null.
        overrides: as on the command line of train.py.
    """

    like: str | None = None
    overrides: list[str] = field(default_factory=list)


@dataclass
class Chain:
    """Stages of training, one after another.

    Attributes:
        stages: by name, in their order.
        overrides: for all stages, or for one as `stage.key=value`; set by the command line.
    """

    stages: dict[str, StageOfChain] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)


@dataclass
class Sweep:
    """How `--multirun` runs its jobs.

    Attributes:
        share: jobs that differ only in settings that never influence training share one.
        fail_fast: start no more jobs once one has failed.
        training: a file that lists the jobs to train; set by the multirun itself.
    """

    share: bool = MISSING
    fail_fast: bool = MISSING
    training: str | None = MISSING


@dataclass
class Train:
    """A training run.

    Attributes:
        chain: stages of training, each from what an earlier one left, or null.
        resume: a run folder to resume, or null.
        parts: packages of your own whose parts may be named as `_target_`.
        global_seed: of everything random; null draws one and records it.
        device: auto, cpu, cuda or cuda:N.
        num_processes: processes that share the run, each with its own GPU or its share of the cores
            of this machine; torchrun overrides it with the number that it started.
        precision: fp32, bf16 for forward passes in bfloat16, or auto: bf16 where it is fast.
        deterministic: choose algorithms on a GPU whose results are the same each time.
        compile: compile the model with a mode of torch.compile: default, reduce-overhead,
            max-autotune or max-autotune-no-cudagraphs; null does not.
        sync_batch_norm: compute batch-norm statistics in training over the batches of all
            processes; without effect on a single one.
        channels_last: keep weights, and with them activations, in channels-last memory order.
        threads: of torch on the CPU; null leaves torch's own number.
        tensorboard: write event files.
        save_predictions: write the predictions on validation samples, per epoch and model.
        observers: of your own, by name; each is built with the run's folder.
    """

    task: Task = MISSING
    dataset: Any = MISSING
    augment: Any = MISSING
    model: Any = MISSING
    loss: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    averaged: Any = MISSING
    hparams: Any = MISSING
    start: Any = MISSING
    stop: Any = MISSING
    evaluation: Any = MISSING
    checkpoint: Any = MISSING
    sweep: Sweep = MISSING
    chain: Chain | None = None
    resume: str | None = MISSING
    parts: list[str] = MISSING
    global_seed: int | None = MISSING
    device: str = MISSING
    num_processes: int = MISSING
    precision: str = MISSING
    deterministic: bool = MISSING
    compile: str | None = MISSING
    sync_batch_norm: bool = MISSING
    channels_last: bool = MISSING
    threads: int | None = MISSING
    tensorboard: bool = MISSING
    save_predictions: bool = MISSING
    observers: dict[str, Any] = MISSING


@dataclass
class Tune(Train):
    """A study: many training runs, one for each point of a space.

    Attributes:
        n_trials: trials to complete or prune, over all starts and processes.
        study: the storage URL of the study; null is `study.db` in the sweep's folder.
        study_name: of the study in its storage.
        objective: raw or averaged: whose best monitored metric on validation is tuned.
        max_failures: trials of one start that may fail; one more ends it.
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


TUNE_ONLY = {field.name for field in fields(Tune)} - {field.name for field in fields(Train)}


def is_tune_only(override: str) -> bool:
    """Return whether an override is of tune.py and train.py would refuse it."""
    return re.split(r"[=.]", override.lstrip("+~"))[0] in {*TUNE_ONLY, "search"}


@dataclass
class SavedModels:
    """What a run left, and how it predicts.

    Attributes:
        run: a run folder, or null.
        checkpoint: the file of one model, or null.
        views: how each image is seen, by name; their predictions are fused. Null shows images as
            they are.
        ensemble: whose predictions are fused, or null.
        fuse: how predictions of views and members are fused; null takes the task's own way.
        batch_size: samples of one forward pass; null takes the run's own.
        device: auto, cpu, cuda or cuda:N.
        precision: fp32, bf16 or auto; null takes the run's own.
        threads: of torch on the CPU; null takes the run's own.
        parts: packages of your own whose parts the run may name as `_target_`.
    """

    run: str | None = MISSING
    checkpoint: str | None = MISSING
    views: dict[str, Any] | None = MISSING
    ensemble: Any = MISSING
    fuse: Any = MISSING
    batch_size: int | None = MISSING
    device: str = MISSING
    precision: str | None = MISSING
    threads: int | None = MISSING
    parts: list[str] = MISSING


@dataclass
class Eval(SavedModels):
    """An evaluation of what a run left.

    Attributes:
        models: names of the run's models that are evaluated, as `best` and `epoch_0010`; null is
            all but those of single epochs.
        out: folder of results, pictures and predictions; null is the run's own, or for a checkpoint
            none but the current one for a submission.
        split: train_plain, train (augmented), val or test.
        submission: only write predictions in the field's own format: no metrics.
        compare: how members of an ensemble are compared in tables; null takes the task's own way.
        boxes: only write boxes of objects in the images of a pretraining data set; null for none.
    """

    models: list[str] | None = MISSING
    out: str | None = MISSING
    split: str = MISSING
    submission: bool = MISSING
    compare: Any = MISSING
    boxes: Any = MISSING
    dataset: DatasetOfRuns = MISSING


@dataclass
class Predict(SavedModels):
    """A prediction of images by what a run left.

    Attributes:
        source: image files, folders, uncompressed tars and .npy or .npz files; * stands for any
            characters.
        models: the name of one of the run's models, as `best` and `ema_0.99`; null is the one that
            was best on validation. On the command line also `model`.
        out: a new file that ends in .json, .csv, or .coco.json for COCO's results; null is a new
            one below `predictions`.
        overwrite: replace a file that exists.
        draw: write pictures with boxes, points or classes, into a folder beside the file.
        min_score: minimum score of the boxes in pictures; the file has all.
        num_workers: processes that decode images; 0 decodes in the main one.
    """

    source: Any = MISSING
    models: str | None = MISSING
    out: str | None = MISSING
    overwrite: bool = MISSING
    draw: bool = MISSING
    min_score: float = MISSING
    num_workers: int = MISSING


@dataclass
class Plots:
    """Tables, figures and a report of runs; `analysis.options` explains and checks the settings."""

    runs: Any = MISSING
    out: str = MISSING
    where: dict[str, Any] = MISSING
    table: Any = MISSING
    figures: list[str] | None = MISSING
    report: bool = MISSING
    value: str | None = MISSING
    weights: str = MISSING
    x: str = MISSING
    y: str | None = MISSING
    hue: str | None = MISSING
    epochs: list[int] | None = MISSING
    window: int = MISSING
    sort: str = MISSING
    num_samples: int = MISSING
    sample_pictures: bool = MISSING
    parts: list[str] = MISSING
    dataset: DatasetOfRuns = MISSING
    broken_axis: list[float] | None = MISSING
    planned: Any = MISSING


SCHEMAS: dict[str, type] = {
    "train": Train,
    "eval": Eval,
    "predict": Predict,
    "tune": Tune,
    "plots": Plots,
    "runs": Runs,
    "diff": Diff,
    "prune": Prune,
    "repeat": Repeat,
}
