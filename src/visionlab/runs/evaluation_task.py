"""The task of a saved run, ready to be evaluated as `eval.py` asks."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from visionlab.backbones.weights import check_weights
from visionlab.engine.device import (
    choose_device,
    choose_precision,
    make_autocast,
    set_determinism,
    set_threads,
)
from visionlab.engine.evaluation import split_label
from visionlab.ensembles.prediction import Inference, Member
from visionlab.runs.build import (
    build_data,
    build_experiment,
    build_task,
    check_classes,
    check_task,
    set_dataset_root,
)
from visionlab.runs.evaluation_options import EvaluationOptions
from visionlab.runs.initial_weights import without_initial_weights
from visionlab.runs.samples import Samples, describe_samples
from visionlab.runs.saved_run import SavedRun
from visionlab.task import Autocast, Task

_OF_PREDICTIONS = ("task", "dataset", "model")
_OF_TRAIN = ("augment", "global_seed")  # of the augmented split


class EvaluationTask(NamedTuple):
    """A task, how it is evaluated, and the samples of its parts."""

    task: Task
    config: Mapping[str, Any]
    batch_size: int
    precision: str
    autocast: Autocast
    epoch: int
    dataset: Any
    samples: Samples

    def inference(
        self, options: EvaluationOptions, split: str, check: Callable[[], None]
    ) -> Inference:
        """Return how members of an ensemble predict a split."""
        return Inference(
            split=split,
            views=options.views,
            batch_size=self.batch_size,
            autocast=self.autocast,
            check=check,
        )

    def member(
        self, name: str, weights: Mapping[str, Tensor], *, split: str, folder: Path
    ) -> Member:
        """Return a model of the run whose predictions of a split are kept below a folder."""
        settings = prediction_settings(self.config, split)
        return Member(
            name=name,
            task=self.task,
            weights=weights,
            cache_key={**settings, "split": split, "precision": self.precision},
            folder=folder / "predictions" / name / f"{split_label(split)}_views",
        )


def prediction_settings(config: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Return the settings of a run on which predictions of a split depend, besides weights."""
    keys = _OF_PREDICTIONS + (_OF_TRAIN if split == "train" else ())
    return {key: config[key] for key in keys}


def prepare(options: EvaluationOptions, saved: SavedRun) -> EvaluationTask:
    """Return the task of a run, ready to be evaluated.

    Raises:
        ValueError: an option or the data does not fit the run.
    """
    set_dataset_root(saved.config, options.dataset_root)
    config = without_initial_weights(saved.config)
    device = choose_device(options.device)
    set_determinism(device, deterministic=config["deterministic"])
    set_threads(config["threads"] if options.threads is None else options.threads)
    experiment = build_experiment(config)
    data = build_data(experiment, device)
    check_classes(data, saved.class_names)
    if options.boxes is None and options.split not in data.splits:
        raise ValueError(f"split must be one of {', '.join(data.splits)}, got {options.split!r}")
    parts = dataclasses.replace(
        experiment.task,
        fuse=options.fuse or experiment.task.fuse,
        compare=options.compare or experiment.task.compare,
    )
    task = build_task(dataclasses.replace(experiment, task=parts), data, device)
    for name, weights in saved.models.items():
        origin = options.run or options.checkpoint or "ensemble.members"
        check_weights(task.evaluated, weights, origin=f"{origin}: {name}")
    if options.submission and task.export is None:
        raise ValueError(f"submission must be false for task {task.name}, got true")
    for key in ("fuse", "compare"):
        part = getattr(options, key)
        made = part if inspect.isfunction(part) else type(part)
        check_task(f"{made.__module__}.{made.__name__}", task.name, key=key)
    if options.views is not None and getattr(data.splits[options.split], "show", None) is None:
        raise ValueError(f"views must be null for task {task.name}, got some")
    precision = choose_precision(options.precision or experiment.machine.precision, device)
    return EvaluationTask(
        task=task,
        config=config,
        batch_size=options.batch_size or experiment.evaluation.batch_size,
        precision=precision,
        autocast=make_autocast(precision, device),
        epoch=experiment.hparams.epochs,
        dataset=experiment.dataset,
        samples=describe_samples(data),
    )
