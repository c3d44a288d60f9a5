"""What `eval.py` does once its configuration is composed."""

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from visionlab.core.interrupt import Signals
from visionlab.core.processes import num_processes
from visionlab.engine.checkpoints import saved_models
from visionlab.engine.device import choose_device, make_autocast, make_deterministic, set_threads
from visionlab.engine.evaluation import Result, evaluate_saved, export, label
from visionlab.engine.progress import draw_table
from visionlab.ensembles.views import check_views, evaluate_views
from visionlab.files.atomic import write_json
from visionlab.files.tensors import read_tensors
from visionlab.images.views import View
from visionlab.runs.build import (
    build_data,
    build_recipes,
    build_task,
    check_classes,
    without_first_weights,
)
from visionlab.task import Autocast, Task

_log = logging.getLogger(__name__)


class _Saved(NamedTuple):
    """What a run left: its settings, its classes, and weights by model name."""

    config: DictConfig
    class_names: Sequence[str]
    models: Mapping[str, Mapping[str, Tensor]]


class _Ready(NamedTuple):
    """A task, and how it is evaluated."""

    task: Task
    batch_size: int
    precision: str
    autocast: Autocast
    epoch: int


def evaluate_run(config: DictConfig) -> None:
    """Evaluate what a run left, print a table, and write beside the run what was found."""
    if num_processes() > 1:
        raise ValueError(f"torchrun must start one process of eval.py, got {num_processes()}")
    if bool(config.run) == bool(config.checkpoint):
        raise ValueError(
            "run or checkpoint must be given, and not both, "
            f"got run={config.run} checkpoint={config.checkpoint}"
        )
    path = Path(config.run or config.checkpoint).expanduser()
    saved = _read_run(path) if config.run else _read_model(path)
    if config.dataset.root is not None:
        if "root" not in saved.config.dataset:
            raise ValueError(
                f"dataset.root must belong to the run's data set, got {config.dataset.root}"
            )
        saved.config.dataset.root = config.dataset.root
    views = _views(config)
    ready = _prepare(config, saved)
    folder = path if config.run else None
    with Signals() as signals:
        if views is None:
            _evaluate(config, saved, ready, folder, signals)
        else:
            _evaluate_views(views, config, saved, ready, folder, signals)


def _views(config: DictConfig) -> dict[str, View] | None:
    """Return the views by name, checked, or None if there are to be none."""
    if config.views is None:
        return None
    if config.run is None:
        raise ValueError("views must be null for a checkpoint outside its run, got some")
    views = {}
    for name, settings in config.views.items():
        if not re.fullmatch(r"[\w+.-]+", name):
            raise ValueError(f"views must have names of letters, digits and _+.-, got {name!r}")
        try:
            views[name] = View(**settings)
        except ValueError as error:
            raise ValueError(f"views.{name}.{error}") from error
    check_views(views)
    return views


def _prepare(config: DictConfig, saved: _Saved) -> _Ready:
    """Return the task of a run, ready to be evaluated."""
    settings = without_first_weights(saved.config)
    device = choose_device(config.device)
    make_deterministic(device)
    set_threads(settings.threads if config.threads is None else config.threads)
    recipes = build_recipes(settings)
    data = build_data(settings, recipes, device)
    check_classes(data, saved.class_names)
    if config.split not in data.splits:
        raise ValueError(f"split must be one of {', '.join(data.splits)}, got {config.split!r}")
    task = build_task(settings, recipes, data, device)
    if config.submission and task.export is None:
        raise ValueError(f"submission must be false for task {task.name}, got true")
    if config.views is not None and not hasattr(data.splits[config.split], "view_batches"):
        raise ValueError(f"views must be null for task {task.name}, got some")
    if config.batch_size is not None and config.batch_size < 1:
        raise ValueError(f"batch_size must be >= 1 or null, got {config.batch_size}")
    return _Ready(
        task,
        batch_size=config.batch_size or recipes.evaluation.batch_size,
        precision=config.precision or settings.precision,
        autocast=make_autocast(config.precision or settings.precision, device),
        epoch=recipes.hparams.epochs,
    )


def _evaluate(
    config: DictConfig, saved: _Saved, ready: _Ready, run: Path | None, signals: Signals
) -> None:
    """Evaluate every model on a split."""
    results = evaluate_saved(
        ready.task,
        saved.models,
        config.split,
        batch_size=ready.batch_size,
        autocast=ready.autocast,
        check=signals.check,
        epoch=ready.epoch,
    )
    if config.submission:
        export(ready.task, results, run or Path(), config.split)
        return
    draw_table({label(config.split): {name: each.numbers for name, each in results.items()}})
    if run:
        _keep(ready.task, results, run, config.split)


def _evaluate_views(
    views: Mapping[str, View],
    config: DictConfig,
    saved: _Saved,
    ready: _Ready,
    run: Path | None,
    signals: Signals,
) -> None:
    """Evaluate every model on a split as it is seen in several views."""
    assert run is not None
    dataset = OmegaConf.to_container(saved.config.dataset)
    task, split = ready.task, label(config.split)
    results = {}
    for model, weights in saved.models.items():
        task.model.load_state_dict(weights)
        results[model] = evaluate_views(
            task,
            task.model,
            task.splits[config.split],  # type: ignore[arg-type]
            views,
            folder=run / "predictions" / model / f"{split}_views",
            about={"dataset": dataset, "split": config.split, "precision": ready.precision},
            batch_size=ready.batch_size,
            autocast=ready.autocast,
            check=signals.check,
        )
        if task.export is not None:
            samples, folder = results[model].samples, run / "predictions" / f"{model}_views"
            path = task.export(folder, split, samples, task.splits[config.split])
            _log.info("wrote %s", path)
    if config.submission:
        return
    for model, result in results.items():
        number = task.monitor if task.monitor in task.metric.names else task.metric.names[0]
        rows = {
            name: {"weight": view.weight, "alone": result.alone[name][number]}
            | {"mean so far": result.running.get(name, {}).get(number, math.nan)}
            for name, view in views.items()
        }
        draw_table({f"{number} of {model} on {split}": rows})
        _log.info("%s", result.gain(number))
    content = {
        model: {"alone": result.alone, "running": result.running}
        for model, result in results.items()
    }
    weights_used = {name: view.weight for name, view in views.items()}
    write_json(run / f"views_{split}.json", {"weights": weights_used, "models": content})


def _keep(task: Task, results: Mapping[str, Result], run: Path, split: str) -> None:
    """Write numbers, pictures and, where the field has a format for them, predictions."""
    numbers = {name: result.numbers for name, result in results.items()}
    write_json(run / f"evaluation_{label(split)}.json", numbers)
    for name, result in results.items():
        task.draw(run / "pictures" / label(split) / name, result.samples, task.splits[split])
    export(task, results, run, split)


def _read_run(folder: Path) -> _Saved:
    if not (folder / "config.yaml").is_file():
        raise FileNotFoundError(f"run must be the folder of a run, got {folder}")
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    class_names = json.loads((folder / "run.json").read_text())["labels"]
    return _Saved(config, class_names, saved_models(folder / "checkpoints"))


def _read_model(path: Path) -> _Saved:
    content = read_tensors(path, sealed=False)
    if "config" not in content:
        raise ValueError(f"checkpoint must be a file of a visionlab run, got {path}")
    models = {content.get("name", "model"): content["model"]}
    return _Saved(OmegaConf.create(content["config"]), content["class_names"], models)
