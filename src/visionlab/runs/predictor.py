"""Models that a run saved, ready to predict any images."""

import inspect
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from visionlab.backbones.weights import check_weights
from visionlab.engine.checkpoints import best_name
from visionlab.engine.device import (
    choose_device,
    choose_precision,
    make_autocast,
    set_determinism,
    set_threads,
)
from visionlab.ensembles.saved_predictions import join_predictions
from visionlab.files.run_folder import read_config, read_record
from visionlab.images.decoding import Stack
from visionlab.images.plain import PlainImages
from visionlab.images.views import View
from visionlab.runs.build import build_evaluated, build_experiment, check_task
from visionlab.runs.experiment import Experiment
from visionlab.runs.initial_weights import without_initial_weights
from visionlab.runs.members import read_members
from visionlab.runs.prediction_options import PredictionOptions
from visionlab.runs.saved_run import SavedRun, check_is_run, read_model, read_run
from visionlab.task import Autocast, Batch, Record, Results, model_input

_log = logging.getLogger(__name__)
Fuse = Callable[[Sequence[Any], Sequence[float]], Any]


@dataclass(frozen=True, kw_only=True)
class PredictingModel:
    """One model, and how it predicts.

    Attributes:
        model: in eval mode, with its weights.
        predict: maps outputs and a batch to predictions.
        autocast: makes the context of a forward pass.
        weight: of its predictions among those of others.
        images: number of its way to show images among those of the predictor.
    """

    model: nn.Module
    predict: Callable[[Any, Batch], Any]
    autocast: Autocast
    weight: float
    images: int

    def predictions(self, batch: Batch) -> Any:
        """Return the predictions for a batch."""
        with self.autocast():
            outputs = self.model(model_input(self.model, batch))
        return self.predict(outputs, batch)


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A model, or several whose predictions are fused.

    Attributes:
        task: name of the task.
        about: what predicts, for files.
        models: at least one.
        images: ways in which images are shown to models, which differ where their data sets do.
        views: by name; None for images as they are.
        fuse: makes one prediction of those of all models in all views; None for one model without
            views.
        batch_size: images per forward pass.
    """

    task: str
    about: Mapping[str, Any]
    models: Sequence[PredictingModel]
    images: Sequence[PlainImages]
    views: Mapping[str, View] | None
    fuse: Fuse | None
    batch_size: int

    @property
    def results(self) -> Results:
        """Predictions as plain containers."""
        return self.images[0].results

    @torch.no_grad()
    def records(self, stacks: Sequence[Stack]) -> list[Record]:
        """Return a record for each of some images, which are decoded for each way to show them."""
        if self.fuse is None:
            return self._single(stacks[0])
        members, weights = list[Any](), list[float]()
        for way, stack in enumerate(stacks):
            for member, weight in self._members(way, stack):
                members.append(member)
                weights.append(weight)
        return self.results.records(self.fuse(members, weights))

    def _single(self, stack: Stack) -> list[Record]:
        """Return the records of the one model, in the order of the stack."""
        (model,), found = self.models, dict[int, Record]()
        for (batch,) in self.images[0].batches(stack, batch_size=self.batch_size, views=None):
            records = self.results.records(model.predictions(batch))
            found |= zip(batch.keys.tolist(), records, strict=True)
        return [found[place] for place in range(len(stack.rows))]

    def _members(self, way: int, stack: Stack) -> Iterator[tuple[Any, float]]:
        """Yield predictions to fuse, each in the order of the stack, and their weights."""
        views = [1.0] if self.views is None else [view.weight for view in self.views.values()]
        combinations = [
            (model, number, model.weight * weight)
            for model in self.models
            if model.images == way
            for number, weight in enumerate(views)
            if model.weight * weight
        ]
        parts: list[list[Any]] = [[] for _ in combinations]
        keys = []
        batches = self.images[way].batches(stack, batch_size=self.batch_size, views=self.views)
        for shown in batches:
            keys.append(shown[0].keys)
            for part, (model, view, _) in zip(parts, combinations, strict=True):
                part.append(model.predictions(shown[view]))
        places = torch.arange(len(stack.rows), device=keys[0].device)
        for part, (_, _, weight) in zip(parts, combinations, strict=True):
            yield join_predictions(part, keys=torch.cat(keys), seconds=0.0).of(places), weight


def build_predictor(options: PredictionOptions) -> Predictor:
    """Read what options name, and build it; no data set is read.

    Raises:
        FileNotFoundError: there is no such run, checkpoint or member.
        ValueError: an option does not fit the task, or a file is damaged.
    """
    members, weights = _read(options)
    device = choose_device(options.device)
    first = next(iter(members.values()))
    set_determinism(device, deterministic=first.config["deterministic"])
    set_threads(first.config["threads"] if options.threads is None else options.threads)
    models, images, experiments = [], dict[str, PlainImages](), []
    for (name, saved), weight in zip(members.items(), weights, strict=True):
        experiment = build_experiment(without_initial_weights(saved.config))
        experiments.append(experiment)
        key = json.dumps(saved.config["dataset"], sort_keys=True, default=str)
        if key not in images:
            images[key] = plain_images_of(experiment, saved, device)
        precision = options.precision or experiment.machine.precision
        models.append(
            PredictingModel(
                model=_model(experiment, images[key], saved, name=name, device=device),
                predict=experiment.task.predict,
                autocast=make_autocast(choose_precision(precision, device), device),
                weight=weight,
                images=list(images).index(key),
            )
        )
    return Predictor(
        task=experiments[0].task.name,
        about=_about(options, list(members), experiments[0]),
        models=models,
        images=list(images.values()),
        views=options.views,
        fuse=_fuse(options, experiments[0]),
        batch_size=options.batch_size or experiments[0].evaluation.batch_size,
    )


def _read(options: PredictionOptions) -> tuple[dict[str, SavedRun], list[float]]:
    """Return members by name, each a run with one model, and their weights."""
    if options.ensemble is not None:
        members = read_members(options.ensemble, run=options.run, parts=options.parts)
        return members, options.ensemble.weights_of(list(members))
    if options.run is None:
        saved = read_model(options.checkpoint or Path(), parts=options.parts)
    else:
        name = options.model or best_model(options.run)
        saved = read_run(options.run, models=[name], parts=options.parts)
        if len(saved.models) > 1:
            found = ", ".join(saved.models)
            raise ValueError(f"model must name one model, got {options.model} for {found}")
    return dict.fromkeys(saved.models, saved), [1.0]


def best_model(run: Path) -> str:
    """Return the model of a run that was best on validation, `model` if there was none."""
    check_is_run(run)
    best, mode = read_record(run).get("best") or {}, read_config(run)["task"]["mode"]
    pick = max if mode == "max" else min
    name = best_name(pick(best, key=lambda each: best[each]["value"])) if best else "model"
    _log.info("model=%s, %s", name, "the best on validation" if best else "the last weights")
    return name


def plain_images_of(experiment: Experiment, saved: SavedRun, device: torch.device) -> PlainImages:
    """Return how the data set of a run shows any images.

    Raises:
        ValueError: it does not say, or its settings do not fit.
    """
    make = getattr(experiment.dataset, "plain_images", None)
    if make is None:
        target = saved.config["dataset"]["_target_"]
        raise ValueError(
            f"dataset must have a method plain_images to predict other images, got {target}"
        )
    plain: PlainImages = make(
        class_names=saved.class_names, class_ids=saved.class_ids, device=device
    )
    return plain


def _model(
    experiment: Experiment,
    images: PlainImages,
    saved: SavedRun,
    *,
    name: str,
    device: torch.device,
) -> nn.Module:
    (weights,) = saved.models.values()
    model = build_evaluated(experiment, images.sizes, device)
    check_weights(model, weights, origin=name)
    model.load_state_dict(weights)
    return model.eval()


def _fuse(options: PredictionOptions, experiment: Experiment) -> Fuse | None:
    """Return how predictions are fused, None if there is only one.

    Raises:
        ValueError: those of the task cannot be fused, or not in this way.
    """
    if options.views is None and options.ensemble is None:
        return None
    task = experiment.task
    if options.fuse is not None:
        made = options.fuse if inspect.isfunction(options.fuse) else type(options.fuse)
        check_task(f"{made.__module__}.{made.__name__}", task.name, key="fuse")
    if task.fuse is None:
        key = "ensemble" if options.views is None else "views"
        raise ValueError(
            f"{key} must be null for task {task.name}, whose predictions cannot be fused, got some"
        )
    return options.fuse or task.fuse


def _about(
    options: PredictionOptions, names: Sequence[str], experiment: Experiment
) -> dict[str, Any]:
    origin = options.run or options.checkpoint
    return {
        "task": experiment.task.name,
        "run": None if origin is None else str(origin),
        "models": list(names),
        "views": list(options.views or {}),
    }
