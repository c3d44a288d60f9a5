"""What `eval.py` does once its configuration is composed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from visionlab.engine.checkpoints import saved_models
from visionlab.engine.device import choose_device, make_autocast, make_deterministic, set_threads
from visionlab.engine.evaluate import Result, evaluate_saved, export, label
from visionlab.engine.interrupt import Signals
from visionlab.engine.progress import draw_table
from visionlab.experiment import (
    build_data,
    build_recipes,
    build_task,
    check_classes,
    without_first_weights,
)
from visionlab.storage import read_tensors, write_json
from visionlab.task import Task


class _Saved(NamedTuple):
    """What a run left: its settings, its classes, and weights by model name."""

    config: DictConfig
    class_names: Sequence[str]
    models: Mapping[str, Mapping[str, Tensor]]


def evaluate_run(config: DictConfig) -> None:
    """Evaluate what a run left, print a table, and write beside the run what was found."""
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
    task, results = _evaluate(config, saved)
    if config.submission:
        export(task, results, path if config.run else Path(), config.split)
        return
    draw_table({label(config.split): {name: each.numbers for name, each in results.items()}})
    if config.run:
        _keep(task, results, path, config.split)


def _evaluate(config: DictConfig, saved: _Saved) -> tuple[Task, dict[str, Result]]:
    """Return the task of a run, and what its models gave on a split."""
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
    if config.batch_size is not None and config.batch_size < 1:
        raise ValueError(f"batch_size must be >= 1 or null, got {config.batch_size}")
    with Signals() as signals:
        return task, evaluate_saved(
            task,
            saved.models,
            config.split,
            batch_size=config.batch_size or recipes.evaluation.batch_size,
            autocast=make_autocast(config.precision or settings.precision, device),
            check=signals.check,
            epoch=recipes.hparams.epochs,
        )


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
